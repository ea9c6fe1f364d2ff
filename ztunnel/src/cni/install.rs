//! Puts the plugin into its place on the node and keeps it there, whoever writes the network's configuration anew; takes
//! it out again. Level-triggered: it looks at what is.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tracing::{info, warn};

use super::chain::{self, Unusable};
use super::known::replace;
use super::{NAME, Settings};

/// This very program.
const PROGRAM: &str = "/proc/self/exe";
/// What a configuration of one plugin is called while a list stands in for it.
const ASIDE: &str = "replaced-by-ambit";

/// Why the plugin is not in its place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Misplaced {
    /// The node has no network for pods yet.
    #[error("there is no network configuration in {0} yet: nothing can be chained to")]
    NoNetwork(PathBuf),
    /// The configuration cannot be used.
    #[error("the network configuration {path} cannot be chained to: {why}")]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The system does not let it.
    #[error("{what}: {error}")]
    Io {
        /// What could not be done.
        what: String,
        /// What the system said.
        error: String,
    },
}

/// The plugin's place.
#[derive(Debug)]
pub(crate) struct Installation {
    settings: Settings,
    directory: PathBuf,
    reported: Option<Misplaced>,
    placed: Option<PathBuf>,
    /// What tells the copy of this program from any other file.
    copied: Option<(u64, i64, i64, u64)>,
}

impl Installation {
    /// The place that `settings` give it; none if they give it none.
    pub(crate) fn new(settings: &Settings) -> Option<Self> {
        let directory = settings.cni_conf_dir.clone()?;
        Some(Self { settings: settings.clone(), directory, reported: None, placed: None, copied: None })
    }

    /// Sees that it is there. What stands in the way is reported once, and true is returned once it is in its place.
    pub(crate) fn look(&mut self) -> bool {
        match self.place() {
            Ok(path) => {
                if self.placed.as_ref() != Some(&path) {
                    info!(configuration = %path.display(), "pods are held back until they are captured");
                    if let Some(own) = self.settings.cni_own_conf.as_ref().filter(|own| !path.ends_with(own)) {
                        warn!(
                            "{own} would not be the first network configuration: the plugin is chained into the network's, and \
                             whoever writes that anew takes it out; name another with --cni-own-conf"
                        );
                    }
                }
                self.placed = Some(path);
                self.reported = None;
            }
            Err(misplaced) => {
                if self.reported.as_ref() != Some(&misplaced) {
                    warn!("pods are not held back until they are captured: {misplaced}");
                }
                self.reported = Some(misplaced);
            }
        }
        self.reported.is_none()
    }

    /// Takes it out again: the network's configuration is as it was found.
    ///
    /// # Errors
    /// What could not be taken out.
    pub(crate) fn remove(&self) -> Result<(), Misplaced> {
        let mut outcome = Ok(());
        for name in names(&self.directory)?.iter().filter(|name| self.is_own(name)) {
            outcome = outcome.and(discard(&self.directory.join(name)));
        }
        outcome = outcome.and(self.unchain_all());
        for path in [self.program(), self.settings.known(), self.settings.cni_socket.clone()] {
            outcome = outcome.and(discard(&path));
        }
        outcome
    }

    /// Puts it where it should be, and says in which configuration.
    fn place(&mut self) -> Result<PathBuf, Misplaced> {
        // First what is called, then who calls it.
        self.copy().map_err(|error| failed(&format!("{} cannot be written", self.program().display()), &error))?;
        let own = self.settings.cni_own_conf.as_deref();
        let (ours, others): (Vec<_>, Vec<_>) = names(&self.directory)?.into_iter().partition(|name| self.is_own(name));
        let Some(primary) = chain::first(others) else {
            // Where the network's is taken away no pod is made until there is another; and that one is not alone when it comes.
            ours.iter().try_for_each(|name| self.keep_alone(name))?;
            return Err(Misplaced::NoNetwork(self.directory.clone()));
        };
        let placed = match own.filter(|own| **own < *primary) {
            Some(own) => self.keep_own(own, &primary)?,
            None => self.chain_into(&primary)?,
        };
        // What is no longer in force goes once something else is.
        for path in ours.iter().map(|name| self.directory.join(name)).filter(|path| *path != placed) {
            discard(&path)?;
        }
        if own.is_some_and(|own| placed == self.directory.join(own)) {
            self.unchain_all()?;
        }
        Ok(placed)
    }

    /// True if `name` is a configuration of the agent's own: by its mark, or where another agent has taken that out by its name.
    /// One that the plugin was chained into is somebody's, whatever its name.
    fn is_own(&self, name: &str) -> bool {
        let is_named = self.settings.cni_own_conf.as_deref() == Some(name);
        let text = fs::read_to_string(self.directory.join(name)).unwrap_or_default();
        chain::is_own(&text) || (is_named && chained_already(&text) && !self.original(name).exists())
    }

    /// Keeps the configuration `own`: what `primary` says, with the plugin.
    fn keep_own(&self, own: &str, primary: &str) -> Result<PathBuf, Misplaced> {
        let of = self.directory.join(primary);
        let text = fs::read_to_string(&of).map_err(|error| failed(&of.display().to_string(), &error))?;
        let chained = chain::with(&text, &self.entry(true));
        let chained = chained.map_err(|why| Misplaced::Unusable { path: of, why: why.to_string() })?.unwrap_or(text);
        self.keep(own, &chained)
    }

    /// Keeps the configuration `own` with nothing but the plugin, which then lets no pod be made.
    fn keep_alone(&self, own: &str) -> Result<(), Misplaced> {
        let path = self.directory.join(own);
        let text = fs::read_to_string(&path).map_err(|error| failed(&path.display().to_string(), &error))?;
        let mut entry = self.entry(true);
        if let Some(fields) = entry.as_object_mut() {
            fields.insert(chain::ALONE.to_owned(), true.into());
        }
        let alone = chain::alone(&text, &entry);
        self.keep(own, &alone.map_err(|why| Misplaced::Unusable { path, why: why.to_string() })?).map(drop)
    }

    fn keep(&self, own: &str, text: &str) -> Result<PathBuf, Misplaced> {
        let path = self.directory.join(own);
        if fs::read_to_string(&path).ok().as_deref() != Some(text) {
            let cannot = |error: io::Error| failed(&format!("{} cannot be written", path.display()), &error);
            replace(&path, text.as_bytes()).map_err(cannot)?;
        }
        Ok(path)
    }

    /// Sees that the plugin is in the configuration `name`.
    fn chain_into(&self, name: &str) -> Result<PathBuf, Misplaced> {
        let path = self.directory.join(name);
        let text = fs::read_to_string(&path).map_err(|error| failed(&path.display().to_string(), &error))?;
        let unusable = |why: Unusable| Misplaced::Unusable { path: path.clone(), why: why.to_string() };
        let Some(chained) = chain::with(&text, &self.entry(false)).map_err(unusable)? else { return Ok(path) };
        let write = |path: &Path, text: &str| {
            replace(path, text.as_bytes())
                .map_err(|error| failed(&format!("{} cannot be written", path.display()), &error))
        };
        if !chained_already(&text) {
            write(&self.original(name), &text)?;
        }
        if chain::is_list(&text) {
            write(&path, &chained)?;
            return Ok(path);
        }
        let list = path.with_extension("conflist");
        write(&list, &chained)?;
        let aside = self.directory.join(format!("{name}.{ASIDE}"));
        fs::rename(&path, aside).map_err(|error| failed(&format!("{} cannot be set aside", path.display()), &error))?;
        Ok(list)
    }

    /// Takes it out of the configurations of others.
    fn unchain_all(&self) -> Result<(), Misplaced> {
        let mut outcome = Ok(());
        for name in names(&self.directory)?.iter().filter(|name| !self.is_own(name)) {
            outcome = outcome.and(self.unchain(name));
        }
        outcome
    }

    /// Takes it out of the configuration `name`.
    fn unchain(&self, name: &str) -> Result<(), Misplaced> {
        let path = self.directory.join(name);
        let restored = |error: io::Error| failed(&format!("{} cannot be restored", path.display()), &error);
        if let Some(single) = name.strip_suffix(ASIDE).and_then(|name| name.strip_suffix('.')) {
            let single_path = self.directory.join(single);
            let list = single_path.with_extension("conflist");
            let stands_in = fs::read_to_string(&list).is_ok_and(|text| chained_already(&text));
            if single_path.exists() || !stands_in {
                // The network has written it anew, or another: what stood in for it is no longer needed.
                return if stands_in { discard(&list) } else { Ok(()) }.and(discard(&path));
            }
            fs::rename(&path, single_path).and_then(|()| fs::remove_file(list)).map_err(restored)?;
            let _ = fs::remove_file(self.original(single));
            return Ok(());
        }
        // What stood in for another is gone with that.
        let Ok(text) = fs::read_to_string(&path) else { return Ok(()) };
        let original = fs::read_to_string(self.original(name)).ok();
        // It is not in what is no configuration.
        if let Ok(Some(unchained)) = chain::without(&text, original.as_deref()) {
            replace(&path, unchained.as_bytes()).map_err(restored)?;
        }
        let _ = fs::remove_file(self.original(name));
        Ok(())
    }

    /// Copies this program to where runtimes look for plugins, unless it is there already: told by its contents once, and by
    /// its inode and time from then on.
    fn copy(&mut self) -> io::Result<()> {
        let program = self.program();
        let stamp = |there: fs::Metadata| (there.ino(), there.mtime(), there.mtime_nsec(), there.len());
        let there = fs::metadata(&program).ok().map(stamp);
        if there.is_some() && there == self.copied {
            return Ok(());
        }
        if there.is_none() || !is_same(Path::new(PROGRAM), &program)? {
            fs::create_dir_all(&self.settings.cni_bin_dir)?;
            let staged = self.settings.cni_bin_dir.join(format!(".{NAME}.{}.new", std::process::id()));
            let mut file = File::create(&staged)?;
            io::copy(&mut File::open(PROGRAM)?, &mut file)?;
            file.set_permissions(fs::Permissions::from_mode(0o755))?;
            file.sync_all()?;
            drop(file);
            fs::rename(staged, &program)?;
        }
        self.copied = fs::metadata(&program).ok().map(stamp);
        Ok(())
    }

    fn program(&self) -> PathBuf {
        self.settings.cni_bin_dir.join(NAME)
    }

    /// Where the configuration `name` is kept as it was.
    fn original(&self, name: &str) -> PathBuf {
        self.settings.cni_state_dir.join(format!("was-{name}"))
    }

    /// The plugin's part of a configuration, of the agent's own or of the network's.
    fn entry(&self, own: bool) -> Value {
        let Settings { cni_socket, cni_when_away, .. } = &self.settings;
        let mut entry = json!({
            "type": NAME,
            "socket": cni_socket,
            "known": self.settings.known(),
            "whenAway": cni_when_away,
        });
        if let (Some(fields), true) = (entry.as_object_mut(), own) {
            fields.insert(chain::OWN.to_owned(), true.into());
        }
        entry
    }
}

/// Sees that there is nothing at `path`.
fn discard(path: &Path) -> Result<(), Misplaced> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(failed(&format!("{} cannot be removed", path.display()), &error))
        }
        _ => Ok(()),
    }
}

/// True if two files say the same.
fn is_same(one: &Path, other: &Path) -> io::Result<bool> {
    let (one, other) = (File::open(one)?, File::open(other)?);
    if one.metadata()?.len() != other.metadata()?.len() {
        return Ok(false);
    }
    let (mut one, mut other) = (BufReader::new(one), BufReader::new(other));
    loop {
        let (left, right) = (one.fill_buf()?, other.fill_buf()?);
        let length = left.len().min(right.len());
        if length == 0 {
            return Ok(left.len() == right.len());
        }
        if left.get(..length) != right.get(..length) {
            return Ok(false);
        }
        one.consume(length);
        other.consume(length);
    }
}

fn chained_already(text: &str) -> bool {
    matches!(chain::without(text, None), Ok(Some(_)))
}

fn names(directory: &Path) -> Result<Vec<String>, Misplaced> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(|error| failed(&directory.display().to_string(), &error))?,
    };
    let mut names: Vec<_> = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort_unstable();
    Ok(names)
}

fn failed(what: &str, error: &io::Error) -> Misplaced {
    Misplaced::Io { what: what.to_owned(), error: error.to_string() }
}

#[cfg(test)]
mod tests;
