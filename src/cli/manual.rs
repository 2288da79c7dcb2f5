//! Completions and man pages, written from the definitions of the command line.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::{Args, CommandFactory, Subcommand};
use clap_complete::Shell;

use super::Arguments;

/// The subcommands that describe evp.
#[derive(Debug, Subcommand)]
pub enum ManualCommand {
    /// Write a shell's completion script to stdout
    #[command(after_help = "Variables: none\n\n\
        bash:        evp completions bash > ~/.local/share/bash-completion/completions/evp\n\
        zsh:         evp completions zsh > \"${fpath[1]}/_evp\"\n\
        fish:        evp completions fish > ~/.config/fish/completions/evp.fish\n\
        elvish:      evp completions elvish >> ~/.config/elvish/rc.elv\n\
        powershell:  evp completions powershell >> $PROFILE")]
    Completions(CompletionsArguments),

    /// Write the man pages of evp and its commands
    #[command(after_help = "Variables: none\n\n\
        evp man --out /usr/local/share/man/man1  then  man evp-capture")]
    Man(ManArguments),
}

/// Flags of `evp completions`.
#[derive(Debug, Args)]
pub struct CompletionsArguments {
    /// The shell that reads the script
    #[arg(value_enum, value_name = "SHELL")]
    pub shell: Shell,
}

/// Flags of `evp man`.
#[derive(Debug, Args)]
pub struct ManArguments {
    /// Folder for the pages, which is made if it is not there; pages of the same names are replaced
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
}

/// Writes the script by which a shell completes commands, flags and their values.
pub fn write_completions(shell: Shell, out: &mut dyn Write) -> io::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "evp", &mut script);
    out.write_all(&script)?;
    out.flush()
}

/// Writes a man page for evp and one for each of its commands.
pub fn write_man_pages(folder: &Path) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    clap_mangen::generate_to(Arguments::command(), folder)
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;

    /// Commands below one, each with the names that lead to it.
    fn commands_below(command: &clap::Command, path: &str) -> Vec<(String, Vec<String>)> {
        let own = command.get_arguments().filter_map(|argument| argument.get_long()).map(str::to_owned).collect();
        let below = command.get_subcommands().filter(|command| command.get_name() != "help");
        let below = below.flat_map(|below| commands_below(below, &format!("{path}-{}", below.get_name())));
        std::iter::once((path.to_owned(), own)).chain(below).collect()
    }

    #[test]
    fn every_shell_is_told_of_every_command_and_flag() {
        let all = commands_below(&Arguments::command(), "evp");
        assert!(all.iter().any(|(path, _)| path == "evp-dlq-replay"), "{all:?}");
        for shell in Shell::value_variants() {
            let mut script = Vec::new();
            write_completions(*shell, &mut script).unwrap();
            let script = String::from_utf8(script).unwrap();
            for (path, flags) in &all {
                let name = path.rsplit('-').next().unwrap_or_default();
                assert!(script.contains(name), "{shell}: {path}");
                let missing: Vec<_> = flags.iter().filter(|flag| !script.contains(flag.as_str())).collect();
                assert!(missing.is_empty(), "{shell}: {path} {missing:?}");
            }
        }
    }

    #[test]
    fn every_command_has_a_man_page_with_its_flags_and_variables() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("man1");
        write_man_pages(&folder).unwrap();
        write_man_pages(&folder).unwrap();
        let all = commands_below(&Arguments::command(), "evp");
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), all.len());
        for (path, flags) in all {
            let page = std::fs::read_to_string(folder.join(format!("{path}.1"))).unwrap().replace('\\', "");
            assert!(page.contains(".TH"), "{path}: {page}");
            assert!(flags.iter().all(|flag| page.contains(&format!("--{flag}"))), "{path}: {page}");
        }
        let page = std::fs::read_to_string(folder.join("evp-capture.1")).unwrap();
        assert!(page.contains("POSTGRES_HOST"), "{page}");
    }
}
