//! `evp top`: the chain live on a terminal, from what `evp status` looks at and what running halves tell of themselves.

mod exposition;
mod halves;
mod screen;
mod view;

use std::io::IsTerminal;
use std::time::Duration;

use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::error::{Error, ErrorKind, Result};
use crate::facts::{self, Depth};
use crate::init::{self, InitPlan};
use crate::terminal::has_colours;
use screen::{ChainLook, Screen};

/// How often it is asked whether a key was pressed, which is how long leaving may take.
const KEY_INTERVAL: Duration = Duration::from_millis(100);

/// What to look at, and how often.
#[derive(Debug, Clone)]
pub struct TopOptions {
    /// Where the servers are, and what on them is evp's.
    pub plan: InitPlan,
    /// Address of capture's health and metrics.
    pub capture: Option<String>,
    /// Addresses of those of processes.
    pub processes: Vec<String>,
    /// Between two looks.
    pub every: Duration,
}

/// Draws until a key or a signal ends it, then leaves the terminal as it was.
pub async fn run(options: &TopOptions, token: &CancellationToken) -> Result<()> {
    if !std::io::stdout().is_terminal() {
        let message =
            "evp top draws on a terminal, and stdout is none: `evp status` and `evp status --watch` print lines";
        return Err(Error::configuration(message.to_owned()));
    }
    let failed = |error| Error::with_source(ErrorKind::System, "this terminal cannot be drawn on", error);
    let mut terminal = ratatui::try_init().map_err(failed)?;
    let stop = token.child_token();
    // Whatever ends this, the terminal is given back, and the thread that waits for keys ends.
    let restored = Restored(stop.clone());
    let keys = tokio::task::spawn_blocking({
        let stop = stop.clone();
        move || watch_keys(&stop)
    });
    let outcome = draw(&mut terminal, options, &stop).await;
    drop(restored);
    let _ = keys.await;
    outcome.map_err(failed)
}

/// Gives the terminal back when dropped.
struct Restored(CancellationToken);

impl Drop for Restored {
    fn drop(&mut self) {
        self.0.cancel();
        ratatui::restore();
    }
}

async fn draw(
    terminal: &mut ratatui::DefaultTerminal,
    options: &TopOptions,
    stop: &CancellationToken,
) -> std::io::Result<()> {
    let has_colours = has_colours();
    let (sender, mut looks) = mpsc::channel(1);
    let looking = look_around(options, sender, stop);
    tokio::pin!(looking);
    let (mut before, mut screen): (Option<ChainLook>, Option<Screen>) = (None, None);
    // A terminal that changes its size is drawn anew without waiting for the next look.
    let mut redraw = tokio::time::interval(Duration::from_millis(500));
    loop {
        terminal.draw(|frame| view::draw(frame, screen.as_ref(), has_colours))?;
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = &mut looking => return Ok(()),
            Some(look) = looks.recv() => {
                screen = Some(Screen::of(&look, before.as_ref()));
                before = Some(look);
            }
            _ = redraw.tick() => {}
        }
    }
}

/// Looks again and again until told to stop.
async fn look_around(options: &TopOptions, looks: mpsc::Sender<ChainLook>, stop: &CancellationToken) {
    let resolving = Box::pin(init::resolved_if_reachable(&options.plan));
    let Some(plan) = stop.run_until_cancelled(resolving).await else { return };
    let look = async || {
        let (facts, capture, processes) = tokio::join!(
            Box::pin(facts::look(&plan, None, Depth::Glance, stop)),
            halves::look(options.capture.as_slice()),
            halves::look(&options.processes),
        );
        ChainLook { facts, capture: capture.into_iter().next(), processes }
    };
    while let Some(look) = stop.run_until_cancelled(look()).await {
        if looks.send(look).await.is_err() {
            return;
        }
        if stop.run_until_cancelled(tokio::time::sleep(options.every)).await.is_none() {
            return;
        }
    }
}

/// Cancels `stop` at a key that leaves. In the terminal's raw mode Ctrl-C is a key as well.
fn watch_keys(stop: &CancellationToken) {
    while !stop.is_cancelled() {
        match event::poll(KEY_INTERVAL).and_then(|is_there| if is_there { event::read().map(Some) } else { Ok(None) }) {
            Ok(Some(Event::Key(key))) if leaves(key) => stop.cancel(),
            Ok(_) => {}
            // Without keys only a signal ends it.
            Err(_) => return,
        }
    }
}

fn leaves(key: KeyEvent) -> bool {
    let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
    let is_leaving = match key.code {
        KeyCode::Esc | KeyCode::Char('q' | 'Q') => true,
        KeyCode::Char('c' | 'C' | 'd' | 'D') => is_control,
        _ => false,
    };
    key.kind != KeyEventKind::Release && is_leaving
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn q_escape_and_control_c_leave_and_nothing_else_does() {
        let key = |code, modifiers| leaves(KeyEvent::new(code, modifiers));
        assert!(key(KeyCode::Char('q'), KeyModifiers::NONE) && key(KeyCode::Esc, KeyModifiers::NONE));
        assert!(key(KeyCode::Char('c'), KeyModifiers::CONTROL));
        assert!(!key(KeyCode::Char('c'), KeyModifiers::NONE) && !key(KeyCode::Enter, KeyModifiers::NONE));
    }
}
