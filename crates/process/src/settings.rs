//! Settings: one declaration (a clap struct) read from flags, environment and a file. Decides which of them wins and
//! says what is wrong with each; knows no setting by name. The one place that reads the environment.
//!
//! A flag wins over its environment variable, that over the settings file, and that over the default. The file is named
//! by `--settings` or `AMBIT_SETTINGS`; it is YAML with one `name: value` a line, where a name is a flag's without its
//! dashes, and a list of values is a YAML list.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ambit_telemetry::Form;
use clap::builder::Resettable;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, Command};

use crate::error::Error;
use crate::source;

mod file;

use file::Entry;

const FLAG: &str = "settings";
const VARIABLE: &str = "AMBIT_SETTINGS";

/// Reads `T` from `arguments` (the first being the program's name), the environment and the settings file.
///
/// `T` must not declare an argument `settings` of its own. `--help` and `--version` are answered as [`Error::Usage`].
pub fn parse<T: clap::Parser>(arguments: impl IntoIterator<Item = impl Into<OsString>>) -> Result<T, Error> {
    let arguments: Vec<OsString> = arguments.into_iter().map(Into::into).collect();
    let mut command =
        source::with_environment(T::command()).arg(
            Arg::new(FLAG).long(FLAG).env(VARIABLE).value_name("FILE").value_parser(clap::value_parser!(PathBuf)).help(
                "A YAML file of settings: one `name: value` a line, named as the flags; flags and environment win",
            ),
        );
    if let Some(path) = settings_file(&arguments) {
        let text =
            std::fs::read_to_string(&path).map_err(|source| Error::SettingsFile { file: path.clone(), source })?;
        for entry in file::read(&path, &text)? {
            command = with_default(command, &path, entry)?;
        }
    }
    let mut matches = command.clone().try_get_matches_from(arguments)?;
    T::from_arg_matches_mut(&mut matches).map_err(|error| Error::Usage(error.format(&mut command)))
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Serialize)]
pub enum LogFormat {
    /// Text, as Istio's ztunnel writes it.
    Plain,
    /// One JSON object a line.
    Json,
}

impl From<LogFormat> for Form {
    fn from(format: LogFormat) -> Self {
        match format {
            LogFormat::Plain => Self::Text,
            LogFormat::Json => Self::Json,
        }
    }
}

/// A duration in seconds, with fractions: for `value_parser`.
///
/// # Errors
/// Why it is none.
pub fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| format!("{text:?} is no number of seconds"))?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

/// The file that the arguments name, else the environment. Found before the arguments are parsed, since what the file
/// says decides whether they are complete.
fn settings_file(arguments: &[OsString]) -> Option<PathBuf> {
    let flag = OsString::from(format!("--{FLAG}"));
    let mut rest = arguments.iter().take_while(|argument| *argument != "--");
    while let Some(argument) = rest.next() {
        if *argument == flag {
            return rest.next().map(PathBuf::from);
        }
        if let Some(value) = argument.to_str().and_then(|text| text.strip_prefix("--settings=")) {
            return Some(PathBuf::from(value));
        }
    }
    std::env::var_os(VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from)
}

/// `command` with the file's value as the default of its setting.
fn with_default(command: Command, file: &Path, entry: Entry) -> Result<Command, Error> {
    let own = |arg: &&Arg| arg.get_long() == Some(entry.key.as_str()) && arg.get_id() != FLAG;
    let Some(arg) = command.get_arguments().find(own) else {
        let remedy = match similar(&command, &entry.key) {
            Some(name) => format!("did you mean `{name}`?"),
            None => "run with --help to see the settings".to_owned(),
        };
        return Err(Error::UnknownSetting { file: file.to_owned(), line: entry.line, key: entry.key, remedy });
    };
    if let Err(remedy) = accepts(&command, arg, &entry) {
        let Entry { key, values, line } = entry;
        return Err(Error::SettingValue { file: file.to_owned(), line, key, value: values.join(", "), remedy });
    }
    let id = arg.get_id().clone();
    Ok(command.mut_arg(id, |arg| arg.required(false).default_values(entry.values)))
}

/// The setting whose name is most like `key`, as clap sees it.
fn similar(command: &Command, key: &str) -> Option<String> {
    let error = alone(command).try_get_matches_from([OsStr::new(""), OsStr::new(&format!("--{key}"))]).err()?;
    match error.get(ContextKind::SuggestedArg)? {
        ContextValue::String(flag) => Some(flag.trim_start_matches('-').to_owned()),
        _ => None,
    }
}

/// Whether `arg` accepts the entry's values; if not, what the operator can do.
fn accepts(command: &Command, arg: &Arg, entry: &Entry) -> Result<(), String> {
    if matches!(arg.get_action(), ArgAction::SetTrue | ArgAction::SetFalse) {
        let known = matches!(entry.values.as_slice(), [value] if value == "true" || value == "false");
        return if known { Ok(()) } else { Err("it is true or false".to_owned()) };
    }
    let flags = entry.values.iter().map(|value| format!("--{}={value}", entry.key));
    match alone(command).try_get_matches_from(std::iter::once(String::new()).chain(flags)) {
        Err(error) if is_about_the_value(error.kind()) => Err(remedy(&error)),
        _ => Ok(()),
    }
}

/// `command` with nothing required and nothing taken from the environment, to try one argument with.
fn alone(command: &Command) -> Command {
    command.clone().mut_args(|arg| arg.required(false).env(Resettable::Reset))
}

fn is_about_the_value(kind: ErrorKind) -> bool {
    use ErrorKind::{
        ArgumentConflict, InvalidUtf8, InvalidValue, NoEquals, TooFewValues, TooManyValues, ValueValidation,
        WrongNumberOfValues,
    };
    // A conflict: the setting takes one value and was given several.
    matches!(
        kind,
        ArgumentConflict
            | InvalidUtf8
            | InvalidValue
            | NoEquals
            | TooFewValues
            | TooManyValues
            | ValueValidation
            | WrongNumberOfValues
    )
}

/// What clap says is wrong, without its own framing.
fn remedy(error: &clap::Error) -> String {
    if let Some(ContextValue::Strings(valid)) = error.get(ContextKind::ValidValue) {
        return format!("it is one of {}", valid.join(", "));
    }
    match (error.kind(), std::error::Error::source(error)) {
        (ErrorKind::ArgumentConflict, _) => "it takes one value".to_owned(),
        (_, Some(source)) => source.to_string(),
        (_, None) => "run with --help to see what it can be".to_owned(),
    }
}

#[cfg(test)]
mod tests;
