//! A BuildKit in a container that runs: who runs it, which one it is, and the command line that reaches into it.
//! Every part of an address is checked, and no part can be read as an option of that command line.

use std::collections::BTreeMap;
use std::fmt;

use url::form_urlencoded;

/// The longest name or value, in bytes: the limit of Kubernetes, above those of the others.
const LIMIT: usize = 253;

/// A container that runs, in the words of an address: `SCHEME://NAME?KEY=VALUE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    runner: Runner,
    name: String,
    /// Where to look for it, by the keys that [`Runner::keys`] allows.
    scope: BTreeMap<&'static str, String>,
}

/// What runs the container, and the program that reaches into it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Runner {
    /// `docker-container://NAME[?context=C]`.
    Docker,
    /// `podman-container://NAME`.
    Podman,
    /// `nerdctl-container://NAME[?namespace=N]`.
    Nerdctl,
    /// `kubepod://POD[?context=C&namespace=N&container=C]`; the pod may be named by its owner, as `deployment/NAME`.
    Kubectl,
}

impl Runner {
    /// The one of a scheme; BuildKit's own tools write `kube-pod`.
    pub(crate) fn of(scheme: &str) -> Option<Self> {
        match scheme {
            "docker-container" => Some(Self::Docker),
            "podman-container" => Some(Self::Podman),
            "nerdctl-container" => Some(Self::Nerdctl),
            "kubepod" | "kube-pod" => Some(Self::Kubectl),
            _ => None,
        }
    }

    fn scheme(self) -> &'static str {
        match self {
            Self::Docker => "docker-container",
            Self::Podman => "podman-container",
            Self::Nerdctl => "nerdctl-container",
            Self::Kubectl => "kubepod",
        }
    }

    /// The program, without its folder.
    pub(crate) fn program(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Podman => "podman",
            Self::Nerdctl => "nerdctl",
            Self::Kubectl => "kubectl",
        }
    }

    fn keys(self) -> &'static [&'static str] {
        match self {
            Self::Docker => &["context"],
            Self::Podman => &[],
            Self::Nerdctl => &["namespace"],
            Self::Kubectl => &["context", "namespace", "container"],
        }
    }

    /// Docker's rule for names, which holds for all; with Kubernetes the name of the pod's owner may have its kind in front.
    fn names(self, name: &str) -> bool {
        let most = if self == Self::Kubectl { 2 } else { 1 };
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        let is_name = |part: &str| part.starts_with(|c: char| c.is_ascii_alphanumeric()) && part.chars().all(fits);
        name.len() <= LIMIT && name.split('/').count() <= most && name.split('/').all(is_name)
    }
}

impl Container {
    /// A container by its name alone; nothing when that is no name.
    pub(crate) fn named(runner: Runner, name: &str) -> Option<Self> {
        Self::parse(runner, name).ok()
    }

    /// What stands behind the scheme's `://`.
    pub(crate) fn parse(runner: Runner, rest: &str) -> Result<Self, &'static str> {
        let (name, query) = rest.split_once('?').unwrap_or((rest, ""));
        if !runner.names(name) {
            return Err("the name of the container is not one");
        }
        let mut scope = BTreeMap::new();
        for (key, value) in form_urlencoded::parse(query.as_bytes()) {
            let known = runner.keys().iter().find(|known| **known == key);
            let key = *known.ok_or("a key after the question mark is not known for this scheme")?;
            if value.is_empty() || value.len() > LIMIT || value.chars().any(char::is_control) {
                return Err("a value after the question mark is not one");
            }
            if scope.insert(key, value.into_owned()).is_some() {
                return Err("a key after the question mark is there twice");
            }
        }
        Ok(Self {
            runner,
            name: name.to_owned(),
            scope,
        })
    }

    pub(crate) fn runner(&self) -> Runner {
        self.runner
    }

    /// The arguments with which the program connects its standard streams to BuildKit's socket.
    pub(crate) fn arguments(&self) -> Vec<String> {
        let option = |key: &str| self.scope.get(key).map(|value| format!("--{key}={value}"));
        let mut arguments: Vec<String> = ["context", "namespace"].into_iter().filter_map(option).collect();
        arguments.extend(["exec", "-i"].map(str::to_owned));
        arguments.extend(option("container"));
        arguments.push(self.name.clone());
        // kubectl reads options of its own up to here; the others take all that follows the name.
        if self.runner == Runner::Kubectl {
            arguments.push("--".to_owned());
        }
        arguments.extend(["buildctl", "dial-stdio"].map(str::to_owned));
        arguments
    }
}

impl fmt::Display for Container {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.runner.scheme(), self.name)?;
        if self.scope.is_empty() {
            return Ok(());
        }
        let query = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(&self.scope)
            .finish();
        write!(f, "?{query}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_lines_name_the_container_and_where_it_is() {
        let table = [
            (Runner::Docker, "b0", "exec -i b0 buildctl dial-stdio"),
            (
                Runner::Docker,
                "b0?context=far",
                "--context=far exec -i b0 buildctl dial-stdio",
            ),
            (Runner::Podman, "b.0", "exec -i b.0 buildctl dial-stdio"),
            (
                Runner::Nerdctl,
                "b0?namespace=k8s.io",
                "--namespace=k8s.io exec -i b0 buildctl dial-stdio",
            ),
            (Runner::Kubectl, "b0", "exec -i b0 -- buildctl dial-stdio"),
            (
                Runner::Kubectl,
                "deployment/b0?namespace=ci&container=buildkitd&context=arn%3Aaws%3Aeks%2Fx",
                "--context=arn:aws:eks/x --namespace=ci exec -i --container=buildkitd deployment/b0 -- buildctl dial-stdio",
            ),
        ];
        for (runner, rest, line) in table {
            let container = Container::parse(runner, rest).unwrap();
            assert_eq!(container.arguments().join(" "), line);
        }
    }

    #[test]
    fn an_option_is_no_name_and_a_value_stays_one_argument() {
        for rest in ["-it", "a/-b", "", "a b", "a/b/c", "a?context=", "a?context=%00"] {
            assert!(Container::parse(Runner::Kubectl, rest).is_err(), "{rest}");
        }
        assert!(Container::named(Runner::Docker, "a/b").is_none());
        let container = Container::parse(Runner::Kubectl, "a?context=--kubeconfig=x+y").unwrap();
        assert_eq!(container.arguments()[0], "--context=--kubeconfig=x y");
    }
}
