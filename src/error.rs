//! The one error type: what happened, where, what to do, and which exit code tells it.

use std::fmt;

/// Result of everything that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Class of a failure; each has an exit code of its own, so that a nightly job can tell a broken host from a
/// broken cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// Wrong command line.
    Usage,
    /// lab.yaml cannot be read or breaks a rule; nothing was touched.
    LabFile,
    /// The host lacks something: memory, disk, a program, a permission.
    Host,
    /// An image or a source package could not be had or is damaged.
    Image,
    /// libvirt, the lab's network or its NFS server.
    Infrastructure,
    /// A guest does not boot, answer or obey.
    Guest,
    /// The cluster does not start or gives wrong answers.
    Cluster,
    /// Another run holds the lab.
    Locked,
    /// Interrupted by a signal.
    Interrupted,
    /// `destroy` found leftovers.
    Leftovers,
    /// A mistake in pgxc-lab itself.
    Internal,
}

impl Class {
    /// All classes, in the order of their exit codes.
    pub const ALL: [Class; 11] = [
        Class::Internal,
        Class::Usage,
        Class::LabFile,
        Class::Host,
        Class::Image,
        Class::Infrastructure,
        Class::Guest,
        Class::Cluster,
        Class::Locked,
        Class::Leftovers,
        Class::Interrupted,
    ];

    /// The process's exit code.
    pub fn exit_code(self) -> u8 {
        match self {
            Class::Internal => 1,
            Class::Usage => 2,
            Class::LabFile => 3,
            Class::Host => 4,
            Class::Image => 5,
            Class::Infrastructure => 6,
            Class::Guest => 7,
            Class::Cluster => 8,
            Class::Locked => 9,
            Class::Leftovers => 10,
            Class::Interrupted => 130,
        }
    }

    /// What it means, for the manual.
    pub fn meaning(self) -> &'static str {
        match self {
            Class::Internal => "a mistake in pgxc-lab itself",
            Class::Usage => "wrong command line",
            Class::LabFile => "lab.yaml cannot be read or breaks a rule; nothing was touched",
            Class::Host => "the host lacks something: memory, disk, a program, a permission",
            Class::Image => "an image or a source package could not be had or is damaged",
            Class::Infrastructure => "libvirt, the lab's network or its NFS server failed",
            Class::Guest => "a guest does not boot, answer or obey",
            Class::Cluster => "the cluster does not start or gives wrong answers",
            Class::Locked => "another run holds the lab",
            Class::Leftovers => "destroy found leftovers",
            Class::Interrupted => "interrupted by a signal",
        }
    }
}

/// A failure: a lower-case sentence, its causes from the nearest to the deepest, and a hint that can be acted on.
#[derive(Clone, Debug)]
pub struct Error {
    class: Class,
    message: String,
    causes: Vec<String>,
    hint: Option<String>,
}

impl Error {
    /// A failure of a class.
    pub fn new(class: Class, message: impl Into<String>) -> Error {
        Error { class, message: message.into(), causes: Vec::new(), hint: None }
    }

    /// A failure whose cause is another error; the whole chain of sources is kept.
    pub fn caused(class: Class, message: impl Into<String>, cause: impl std::error::Error) -> Error {
        let mut causes = vec![cause.to_string()];
        let mut source = cause.source();
        while let Some(next) = source {
            causes.push(next.to_string());
            source = next.source();
        }
        causes.dedup();
        Error { causes, ..Error::new(class, message) }
    }

    /// Adds what to do about it.
    pub fn hint(mut self, hint: impl Into<String>) -> Error {
        self.hint = Some(hint.into());
        self
    }

    /// Adds a line of evidence, such as the last lines of a log.
    pub fn evidence(mut self, line: impl Into<String>) -> Error {
        self.causes.push(line.into());
        self
    }

    /// Says in which larger action it happened; the old message becomes the first cause.
    pub fn context(mut self, message: impl Into<String>) -> Error {
        let old = std::mem::replace(&mut self.message, message.into());
        self.causes.insert(0, old);
        self
    }

    /// Its class.
    pub fn class(&self) -> Class {
        self.class
    }

    /// The first line.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Causes, from the nearest to the deepest.
    pub fn causes(&self) -> &[String] {
        &self.causes
    }

    /// What to do about it.
    pub fn hint_text(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}

impl Error {
    /// All of it in one line, for a row or a note.
    pub fn line(&self) -> String {
        self.to_string().lines().map(str::trim).collect::<Vec<_>>().join("; ")
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.message)?;
        for cause in &self.causes {
            for (number, line) in cause.trim_end().lines().enumerate() {
                write!(f, "\n  {}{line}", if number == 0 { "caused by: " } else { "           " })?;
            }
        }
        if let Some(hint) = &self.hint {
            write!(f, "\nhint: {hint}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

/// Adds class and context to the errors of libraries.
pub trait ResultExt<T> {
    /// Turns the error into ours.
    ///
    /// # Errors
    /// The same failure with class and context.
    fn or_error(self, class: Class, message: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: std::error::Error> ResultExt<T> for std::result::Result<T, E> {
    fn or_error(self, class: Class, message: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|cause| Error::caused(class, message(), cause))
    }
}
