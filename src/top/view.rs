//! The screen as lines: a function of what was seen and of the room that there is.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::screen::{CaptureNumbers, Half, KafkaNumbers, PartitionNumbers, ProcessNumbers, Screen};
use crate::facts::{Look, MongoFacts, PostgresFacts};
use crate::terminal::{Tone, bytes, instant};

/// Of a sentence that says why a half does not work.
const WORDS_MAX: usize = 60;
/// Seconds of work of a group that keeps up.
const BEHIND_SECONDS: f64 = 5.0;
const KEYS: &str = "q, Esc or Ctrl-C leaves";
const NO_HALVES: &str = "--capture-http and --process-http show what the halves themselves tell";

/// Draws the screen; before the first look there is none.
pub(super) fn draw(frame: &mut Frame<'_>, screen: Option<&Screen>, has_colours: bool) {
    let area = frame.area();
    let pen = Pen { has_colours };
    let lines = match screen {
        Some(screen) => pen.screen(screen, area),
        None => vec![pen.title("evp top", "looking at the servers …", Tone::Plain), Line::from(KEYS)],
    };
    frame.render_widget(Paragraph::new(lines), area);
}

/// Writes lines, in colours or without.
struct Pen {
    has_colours: bool,
}

impl Pen {
    fn style(&self, tone: Tone) -> Style {
        match tone {
            _ if !self.has_colours => Style::new(),
            Tone::Good => Style::new().fg(Color::Green),
            Tone::Warning => Style::new().fg(Color::Yellow),
            Tone::Bad => Style::new().fg(Color::Red),
            Tone::Plain => Style::new(),
        }
    }

    fn title(&self, name: &str, what: &str, tone: Tone) -> Line<'static> {
        let name = Span::styled(format!("{name} "), Style::new().add_modifier(Modifier::BOLD));
        Line::from(vec![name, Span::styled(what.to_owned(), self.style(tone))])
    }

    fn line(&self, text: String, tone: Tone) -> Line<'static> {
        Line::from(Span::styled(text, self.style(tone)))
    }

    /// All lines; partitions and handlers share what the others leave, and what these leave keeps sections apart.
    fn screen(&self, screen: &Screen, area: Rect) -> Vec<Line<'static>> {
        let mut above = vec![vec![self.title("evp top", &instant(screen.at_ms), Tone::Plain)]];
        above.push(self.postgres(&screen.postgres));
        match &screen.capture {
            Some(half) => above.push(self.half(("capture", area.width), half, |numbers| self.capture(numbers))),
            None if screen.processes.is_empty() => above.push(vec![Line::from(NO_HALVES)]),
            None => {}
        }
        let (mut kafka, partitions) = match &screen.kafka {
            Ok(kafka) => (self.kafka(kafka), kafka.partitions.as_slice()),
            Err(error) => (vec![self.title("Kafka", error, Tone::Bad)], &[][..]),
        };
        let mut below = Vec::new();
        for half in &screen.processes {
            below.push(self.half(("process", area.width), half, |numbers| self.process(numbers)));
        }
        below.push(self.mongo(&screen.mongo));
        let (letters, handlers) = self.letters(&screen.letters);

        let lines = above.iter().chain(&below).map(Vec::len).sum::<usize>();
        let room = usize::from(area.height).saturating_sub(lines.saturating_add(kafka.len()).saturating_add(2));
        let handler_rows = handlers.len().min((room / 3).max(1)).min(room);
        let partition_rows = partitions.len().min(room.saturating_sub(handler_rows));
        kafka.extend(self.partitions(partitions, partition_rows));
        let letters = std::iter::once(letters).chain(cut(handlers, handler_rows)).collect();
        above.push(kafka);
        above.extend(below);
        above.extend([letters, vec![Line::from(KEYS)]]);
        joined(above, area.height)
    }

    fn postgres(&self, look: &Look<PostgresFacts>) -> Vec<Line<'static>> {
        let facts = match look {
            Look::Seen(facts) => facts,
            Look::Failed { error } => return vec![self.title("PostgreSQL", error, Tone::Bad)],
        };
        let standby = if facts.server.is_in_recovery { ", a standby" } else { "" };
        let title = format!("{}, {}{standby}", facts.address, facts.server.version);
        let title = self.title("PostgreSQL", &title, Tone::Plain);
        let Some(slot) = &facts.slot else {
            return vec![title, self.line(format!("  slot {} does not exist: evp init", facts.slot_name), Tone::Bad)];
        };
        let (reader, tone) = match (slot.active_pid, &slot.application) {
            (Some(pid), Some(application)) => (format!("read by {application}, process {pid}"), Tone::Good),
            (Some(pid), None) => (format!("read by process {pid}"), Tone::Good),
            (None, _) => ("nobody reads it".to_owned(), Tone::Warning),
        };
        let size =
            |count: Option<i64>| count.map_or_else(|| "unknown".to_owned(), |count| bytes(count.max(0).unsigned_abs()));
        let status = slot.wal_status.as_deref().unwrap_or("unknown");
        let mut wal = format!("  wal   {status}, lag {}, retained {}", size(slot.lag_bytes), size(slot.retained_bytes));
        if slot.safe_wal_bytes.is_some() {
            wal.push_str(&format!(", lost after {} more", size(slot.safe_wal_bytes)));
        }
        let wal_tone = match status {
            "lost" | "unreserved" => Tone::Bad,
            "extended" => Tone::Warning,
            _ => Tone::Plain,
        };
        vec![title, self.line(format!("  slot  {}, {reader}", facts.slot_name), tone), self.line(wal, wal_tone)]
    }

    fn half<N>(
        &self,
        (name, width): (&str, u16),
        half: &Half<N>,
        lines: impl Fn(&N) -> Vec<Line<'static>>,
    ) -> Vec<Line<'static>> {
        let (state, tone) = if half.obstacle.is_none() { ("ready", Tone::Good) } else { ("does not work", Tone::Bad) };
        let mut all = vec![self.title(name, &format!("{}, {state}", half.address), tone)];
        let obstacle = half.obstacle.as_deref().map(|obstacle| wrapped(obstacle, width)).unwrap_or_default();
        all.extend(obstacle.into_iter().map(|line| self.line(format!("  {line}"), Tone::Bad)));
        all.extend(half.numbers.iter().flat_map(lines));
        all
    }

    fn capture(&self, numbers: &CaptureNumbers) -> Vec<Line<'static>> {
        let CaptureNumbers { events, transactions, in_flight, reconnects, dead_letters, latency } = numbers;
        let (events, transactions) = (rate(*events), rate(*transactions));
        vec![
            self.line(
                format!("  events/s {events:>8}   transactions/s {transactions:>8}   in flight {in_flight}, reconnects {reconnects}"),
                Tone::Plain,
            ),
            self.line(
                format!(
                    "  commit to Kafka    {}   dead letters {dead_letters}",
                    spread(*latency)
                ),
                if *dead_letters > 0.0 { Tone::Warning } else { Tone::Plain },
            ),
        ]
    }

    fn process(&self, numbers: &ProcessNumbers) -> Vec<Line<'static>> {
        let ProcessNumbers { events, waiting, dead_letters, latency, write } = numbers;
        let write = write.map_or_else(|| "-".to_owned(), |[p99]| span(p99));
        vec![
            self.line(
                format!("  events/s {:>8}   waiting {waiting}   one round of writes p99 {write}", rate(*events)),
                if *waiting > 0.0 { Tone::Warning } else { Tone::Plain },
            ),
            self.line(
                format!("  commit to MongoDB  {}   dead letters {dead_letters}", spread(*latency)),
                if *dead_letters > 0.0 { Tone::Warning } else { Tone::Plain },
            ),
        ]
    }

    fn kafka(&self, kafka: &KafkaNumbers) -> Vec<Line<'static>> {
        if !kafka.is_there {
            return vec![self.title("Kafka", &format!("topic {} does not exist: evp init", kafka.topic), Tone::Bad)];
        }
        let records: i64 = kafka.partitions.iter().map(|partition| partition.end).sum();
        let lag: i64 = kafka.partitions.iter().map(|partition| partition.lag).sum();
        let mut title = format!("{}, records {records}", kafka.topic);
        if kafka.leaderless > 0 {
            title.push_str(&format!(", {} partitions without a leader", kafka.leaderless));
        }
        let group = format!("  group {}, {}, members {}, lag {lag}", kafka.group, kafka.group_state, kafka.members);
        let header = format!("  {:>9} {:>14} {:>12} {:>11} {:>11}", "PARTITION", "END", "LAG", "WRITTEN/S", "DONE/S");
        vec![
            self.title("Kafka", &title, if kafka.leaderless > 0 { Tone::Bad } else { Tone::Plain }),
            self.line(group, if kafka.members == 0 { Tone::Warning } else { Tone::Plain }),
            self.line(header, Tone::Plain),
        ]
    }

    /// The partitions in order, or, where there is no room for all, those that are furthest behind.
    fn partitions(&self, partitions: &[PartitionNumbers], rows: usize) -> Vec<Line<'static>> {
        let mut shown: Vec<_> = partitions.iter().collect();
        if shown.len() > rows {
            shown.sort_by_key(|partition| (std::cmp::Reverse(partition.lag), partition.id));
        }
        let lines = shown.into_iter().map(|PartitionNumbers { id, end, lag, written, done }| {
            let row = format!("  {id:>9} {end:>14} {lag:>12} {:>11} {:>11}", rate(*written), rate(*done));
            self.line(row, if is_behind(*lag, *done) { Tone::Warning } else { Tone::Plain })
        });
        cut(lines.collect(), rows)
    }

    fn mongo(&self, look: &Look<MongoFacts>) -> Vec<Line<'static>> {
        let facts = match look {
            Look::Seen(facts) => facts,
            Look::Failed { error } => return vec![self.title("MongoDB", error, Tone::Bad)],
        };
        let replica_set = facts.replica_set.as_ref().map_or_else(String::new, |name| format!(", replica set {name}"));
        let title = format!("{}, {}{replica_set}", facts.database, facts.version);
        let counts: Vec<_> = facts.counts.iter().map(|(name, count)| format!("{name} {count}")).collect();
        let total = facts.total_users.map(|total| format!("total_users {total}"));
        let counts = format!("  {}", counts.into_iter().chain(total).collect::<Vec<_>>().join(", "));
        vec![self.title("MongoDB", &title, Tone::Plain), self.line(counts, Tone::Plain)]
    }

    fn letters(&self, letters: &Result<Vec<(String, usize)>, String>) -> (Line<'static>, Vec<Line<'static>>) {
        let letters = match letters {
            Ok(letters) if letters.is_empty() => {
                return (self.title("dead letters", "none wait", Tone::Good), Vec::new());
            }
            Ok(letters) => letters,
            Err(error) => return (self.title("dead letters", error, Tone::Bad), Vec::new()),
        };
        let all: usize = letters.iter().map(|(_, count)| count).sum();
        let rows = letters.iter().map(|(handler, count)| self.line(format!("  {handler:<40} {count:>8}"), Tone::Bad));
        (self.title("dead letters", &format!("{all} wait, by handler: evp dlq list"), Tone::Bad), rows.collect())
    }
}

/// Whether what waits is more than a few seconds of work.
#[allow(clippy::cast_precision_loss)]
fn is_behind(lag: i64, done: Option<f64>) -> bool {
    lag > 0 && done.is_none_or(|done| lag as f64 > done * BEHIND_SECONDS)
}

/// The lines of all sections, with one between them where there is room for that.
fn joined(sections: Vec<Vec<Line<'static>>>, height: u16) -> Vec<Line<'static>> {
    let lines: usize = sections.iter().map(Vec::len).sum();
    let gaps = sections.len().saturating_sub(1);
    let gap = if lines.saturating_add(gaps) <= usize::from(height) { vec![Line::default()] } else { Vec::new() };
    sections.join(&gap[..])
}

/// A sentence in lines that fit behind the margin, broken between words.
fn wrapped(text: &str, width: u16) -> Vec<String> {
    let room = usize::from(width.saturating_sub(2)).max(1);
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace().take(WORDS_MAX) {
        match lines.last_mut() {
            Some(line) if line.chars().count().saturating_add(word.chars().count()) < room => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// So many rows; if there are more, the last says how many.
fn cut(mut rows: Vec<Line<'static>>, most: usize) -> Vec<Line<'static>> {
    if rows.len() > most {
        let left = rows.len().saturating_sub(most.saturating_sub(1));
        rows.truncate(most.saturating_sub(1));
        if most > 0 {
            rows.push(Line::from(format!("  … {left} more")));
        }
    }
    rows
}

fn rate(rate: Option<f64>) -> String {
    match rate {
        None => "-".to_owned(),
        Some(rate) if rate >= 100.0 => format!("{rate:.0}"),
        Some(rate) => format!("{rate:.1}"),
    }
}

fn spread(latency: Option<[f64; 3]>) -> String {
    match latency {
        None => "p50 -  p90 -  p99 -".to_owned(),
        Some([p50, p90, p99]) => format!("p50 {}  p90 {}  p99 {}", span(p50), span(p90), span(p99)),
    }
}

/// Seconds, as people say them.
fn span(seconds: f64) -> String {
    if seconds >= 1.0 { format!("{seconds:.1} s") } else { format!("{:.1} ms", seconds * 1_000.0) }
}

#[cfg(test)]
mod tests;
