//! Reading variables: environment over `.env` over default, every mistake reported together.

use std::collections::HashMap;
use std::fmt::Display;
use std::path::Path;
use std::str::FromStr;

use super::Secret;
use crate::error::{Error, Result};

/// The variables of the process and of `.env`, and the mistakes found in them so far.
///
/// Getters never fail: a wrong value is noted and the default returned, so that
/// [`Variables::finish`] can name all mistakes at once.
#[derive(Debug, Default)]
pub struct Variables {
    environment: HashMap<String, String>,
    dotenv: HashMap<String, String>,
    mistakes: Vec<String>,
    /// What was asked for, with defaults and bounds where these were said.
    #[cfg(test)]
    pub(super) asked: std::cell::RefCell<std::collections::BTreeMap<String, Asked>>,
}

/// How a variable was asked for.
#[cfg(test)]
#[derive(Debug, Default)]
pub(super) struct Asked {
    pub(super) default: Option<String>,
    pub(super) values: Option<String>,
    pub(super) is_secret: bool,
}

impl Variables {
    /// Reads the environment and, where it exists, `.env` of the working directory.
    pub fn load() -> Self {
        Self::from_parts(std::env::vars_os().filter_map(text_pair), Path::new(".env"))
    }

    /// Reads the given environment over the given dotenv file.
    fn from_parts(environment: impl Iterator<Item = (String, String)>, dotenv: &Path) -> Self {
        let mut variables = Self { environment: environment.collect(), ..Self::default() };
        match dotenvy::from_path_iter(dotenv) {
            Ok(entries) => {
                for entry in entries {
                    match entry {
                        Ok((name, value)) => {
                            variables.dotenv.insert(name, value);
                        }
                        Err(dotenvy::Error::LineParse(line, at)) => {
                            let name = line.split('=').next().unwrap_or_default().trim();
                            variables.mistake(format!(
                                "{} has a line that cannot be read (`{name}=…`, character {at}): quote values that hold spaces, quotes or $",
                                dotenv.display()
                            ));
                            break;
                        }
                        Err(error) => {
                            variables.mistake(format!("{} cannot be read: {error}", dotenv.display()));
                            break;
                        }
                    }
                }
            }
            Err(error) if error.not_found() => {}
            Err(error) => variables.mistake(format!("{} cannot be read: {error}", dotenv.display())),
        }
        variables
    }

    /// Variables given by a program that embeds evp; neither its environment nor any `.env` is read.
    pub fn of(pairs: &[(&str, &str)]) -> Self {
        let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Self { environment: pairs.collect(), ..Self::default() }
    }

    /// Notes a mistake; `sentence` names the variable and the remedy.
    pub fn mistake(&mut self, sentence: String) {
        self.mistakes.push(sentence);
    }

    /// The text of `name`; an empty value counts as unset.
    pub fn optional(&self, name: &str) -> Option<String> {
        #[cfg(test)]
        self.note(name, |_| {});
        self.environment.get(name).or_else(|| self.dotenv.get(name)).filter(|value| !value.is_empty()).cloned()
    }

    /// Whether `name`, or the file that holds it, is given.
    pub(crate) fn is_given(&self, name: &str) -> bool {
        self.optional(name).or_else(|| self.optional(&format!("{name}_FILE"))).is_some()
    }

    /// The text of `name` or the default.
    pub fn text(&self, name: &str, default: &str) -> String {
        #[cfg(test)]
        self.note(name, |asked| asked.default = Some(default.to_owned()));
        self.optional(name).unwrap_or_else(|| default.to_owned())
    }

    /// A number within `bounds`.
    pub fn number<N>(&mut self, name: &str, default: N, bounds: std::ops::RangeInclusive<N>) -> N
    where
        N: FromStr + PartialOrd + Display + Copy,
    {
        #[cfg(test)]
        self.note(name, |asked| {
            asked.default = Some(default.to_string());
            asked.values = Some(format!("{} to {}", bounds.start(), bounds.end()));
        });
        let Some(text) = self.optional(name) else { return default };
        match text.trim().parse::<N>() {
            Ok(number) if bounds.contains(&number) => number,
            _ => {
                let (low, high) = (bounds.start(), bounds.end());
                self.mistake(format!("{name} is `{text}`: give a number from {low} to {high}"));
                default
            }
        }
    }

    /// One of the `allowed` words.
    pub fn choice(&mut self, name: &str, default: &str, allowed: &[&str]) -> String {
        #[cfg(test)]
        self.note(name, |asked| asked.values = Some(allowed.join(", ")));
        let value = self.text(name, default);
        if !allowed.contains(&value.as_str()) {
            self.mistake(format!("{name} is `{value}`: give one of {}", allowed.join(", ")));
            return default.to_owned();
        }
        value
    }

    /// A secret: `name`, or the contents of the file that `name_FILE` names.
    pub fn secret(&mut self, name: &str) -> Option<Secret> {
        let file_variable = format!("{name}_FILE");
        #[cfg(test)]
        self.note(name, |asked| asked.is_secret = true);
        // The environment wins in either form over `.env` in either form, and an empty value unsets.
        let source = [&self.environment, &self.dotenv]
            .into_iter()
            .find(|source| source.contains_key(name) || source.contains_key(&file_variable))?;
        let given = |name: &str| source.get(name).filter(|value| !value.is_empty()).cloned();
        let path = match (given(name), given(&file_variable)) {
            (Some(_), Some(_)) => {
                self.mistake(format!("{name} and {file_variable} are both set: unset one of them"));
                return None;
            }
            (Some(value), None) => return Some(Secret::new(value)),
            (None, Some(path)) => path,
            (None, None) => return None,
        };
        match std::fs::read_to_string(&path) {
            Ok(text) => Some(Secret::new(text.trim_end_matches(['\r', '\n']))),
            Err(error) => {
                self.mistake(format!("{file_variable} names `{path}`, which cannot be read: {error}"));
                None
            }
        }
    }

    #[cfg(test)]
    fn note(&self, name: &str, how: impl FnOnce(&mut Asked)) {
        how(self.asked.borrow_mut().entry(name.to_owned()).or_default());
    }

    /// Fails with every mistake noted, each on a line of its own.
    pub fn finish(self) -> Result<()> {
        if self.mistakes.is_empty() {
            return Ok(());
        }
        Err(Error::configuration(self.mistakes.join("\n")))
    }
}

fn text_pair((name, value): (std::ffi::OsString, std::ffi::OsString)) -> Option<(String, String)> {
    Some((name.into_string().ok()?, value.into_string().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn every_mistake_is_reported_in_one_error() {
        let mut variables = Variables::of(&[("POSTGRES_PORT", "http"), ("KAFKA_AUTO_OFFSET_RESET", "sometimes")]);
        assert_eq!(variables.number("POSTGRES_PORT", 5432_u16, 1..=65535), 5432);
        variables.choice("KAFKA_AUTO_OFFSET_RESET", "earliest", &["earliest", "latest"]);
        let text = variables.finish().unwrap_err().to_string();
        assert!(text.contains("POSTGRES_PORT") && text.contains("KAFKA_AUTO_OFFSET_RESET"), "{text}");
    }

    #[test]
    fn the_environment_overrides_dotenv() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        writeln!(file, "A=from-file\nB=from-file").unwrap();
        let environment = [("A".to_owned(), "from-environment".to_owned())];
        let variables = Variables::from_parts(environment.into_iter(), file.path());
        assert_eq!(variables.text("A", ""), "from-environment");
        assert_eq!(variables.text("B", ""), "from-file");
    }

    #[test]
    fn a_broken_dotenv_is_named_without_its_value() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        writeln!(file, "POSTGRES_PASSWORD='hunter2").unwrap();
        let text = Variables::from_parts(std::iter::empty(), file.path()).finish().unwrap_err().to_string();
        assert!(text.contains("POSTGRES_PASSWORD") && !text.contains("hunter2"), "{text}");
    }

    #[test]
    fn a_secret_is_read_from_its_file_without_the_line_end() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        writeln!(file, "hunter2").unwrap();
        let mut variables = Variables::of(&[("POSTGRES_PASSWORD_FILE", file.path().to_str().unwrap())]);
        assert_eq!(variables.secret("POSTGRES_PASSWORD"), Some(Secret::new("hunter2")));
    }

    #[test]
    fn a_secret_of_the_environment_wins_over_dotenv_in_either_form_and_two_forms_are_a_mistake() {
        let (mut dotenv, mut file) = (tempfile::NamedTempFile::new().unwrap(), tempfile::NamedTempFile::new().unwrap());
        writeln!(dotenv, "MONGODB_URI=from-dotenv").unwrap();
        writeln!(file, "from-file").unwrap();
        let file = ("MONGODB_URI_FILE".to_owned(), file.path().to_str().unwrap().to_owned());
        let uri = ("MONGODB_URI".to_owned(), "from-environment".to_owned());
        let secret = |environment: &[(String, String)]| {
            let mut variables = Variables::from_parts(environment.iter().cloned(), dotenv.path());
            (variables.secret("MONGODB_URI"), variables.finish().is_ok())
        };
        assert_eq!(secret(&[]), (Some(Secret::new("from-dotenv")), true));
        assert_eq!(secret(std::slice::from_ref(&uri)), (Some(Secret::new("from-environment")), true));
        assert_eq!(secret(std::slice::from_ref(&file)), (Some(Secret::new("from-file")), true));
        assert_eq!(secret(&[uri, file]), (None, false));
        assert_eq!(secret(&[("MONGODB_URI".to_owned(), String::new())]), (None, true));
    }
}
