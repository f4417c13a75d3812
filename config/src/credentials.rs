//! User name and password for a server that we ask, and where the password comes from.
//! The same three keys wherever a table has them: `username`, `password` or `password_file`.

use std::path::{Path, PathBuf};

use crate::document::Problems;
use crate::secret::Secret;

/// What we log in with.
#[derive(Clone, Debug, PartialEq)]
pub struct Credentials {
    /// The user name; not secret.
    pub username: String,
    /// The password, or what `password_file` held when the configuration was loaded.
    pub password: Secret,
    /// Where the password came from, if from a file.
    pub password_file: Option<PathBuf>,
}

/// The three keys as written.
pub(crate) struct Login<'a> {
    pub(crate) username: Option<&'a str>,
    pub(crate) password: Option<&'a Secret>,
    pub(crate) password_file: Option<&'a Path>,
}

impl Login<'_> {
    /// The credentials, if there are any, or what is wrong with them under `key`. `read` gives the content of a file.
    pub(crate) fn check(
        self,
        key: &str,
        read: &dyn Fn(&Path) -> Result<String, String>,
        problems: &mut Problems,
    ) -> Option<Credentials> {
        let password = match (self.password, self.password_file) {
            (Some(_), Some(_)) => {
                let text = "is given together with password_file, keep one of them";
                problems.add(format!("{key}.password"), text);
                return None;
            }
            (Some(password), None) => password.clone(),
            (None, Some(file)) => Secret::new(problems.keep(format!("{key}.password_file"), read(file))?),
            (None, None) if self.username.is_none() => return None,
            (None, None) => {
                problems.add(format!("{key}.username"), "is given without password or password_file");
                return None;
            }
        };
        if password.expose().is_empty() {
            problems.add(format!("{key}.password"), "is empty");
        }
        let Some(username) = self.username.filter(|name| !name.is_empty()) else {
            problems.add(format!("{key}.username"), "is missing, a password needs one");
            return None;
        };
        Some(Credentials {
            username: username.to_owned(),
            password,
            password_file: self.password_file.map(Path::to_owned),
        })
    }
}
