//! What runs in an image to carry out a plan, for each package manager, and what its exit codes mean.
//!
//! There are two ways: from packages that we fetched, without a network; and by the image's own tool, which fetches them itself.
//! Names, versions and paths reach the container as arguments, never as a part of a script.

use patchport_buildkit::llb::{Exec, State};

use crate::plan::{Plan, Tool};

mod apk;
mod apt;
pub(super) mod helper;
mod pacman;
mod rpm;

/// The folder of our mounts in the container; runc mounts a fresh `/dev`, so nothing of it is left in the image.
const MOUNT: &str = "/dev/patchport";
/// Where fetched packages are mounted, read-only.
pub(crate) const PACKAGES: &str = "/dev/patchport/packages";
/// The list of repositories among them, for a tool that installs from repositories only.
pub(crate) const REPOSITORIES: &str = "repositories";

/// The image's package sources could not be read.
const UNREADABLE: i64 = 81;
/// The sources do not give what was planned.
const NOT_OFFERED: i64 = 82;
/// The tool cannot be told what the operator's table of repositories says.
const UNTOLD: i64 = 85;
/// The upgrade itself failed.
const FAILED: i64 = 83;
/// The fetched packages alone do not do; the image's own tool may.
const INCOMPLETE: i64 = 84;
/// The helper does not find in the image what is installed there.
const UNKNOWN_DATABASE: i64 = 86;

/// How a package manager upgrades.
pub(super) trait Recipe: Sync {
    /// By the image's own tool, which fetches the packages; nothing when it cannot. `run` differs from run to run, or BuildKit would
    /// answer from its cache: the package sources may have changed since, and what is older than the run counts as packaged.
    fn upgrade(&self, image: &State, plan: &Plan, run: &str) -> Option<Exec>;

    /// From fetched packages, without a network; `paths` are those of their files in the container, in the order of the plan.
    fn install(&self, image: &State, plan: &Plan, paths: &[String], run: &str) -> Option<Exec>;
}

/// The recipe of a tool.
pub(super) fn of(tool: Tool) -> &'static dyn Recipe {
    match tool {
        Tool::Apk => &apk::Apk,
        Tool::Apt => &apt::Apt,
        Tool::Dpkg => &apt::Dpkg,
        Tool::Dnf => &rpm::DNF_4,
        Tool::Dnf5 => &rpm::DNF_5,
        Tool::Zypper => &rpm::ZYPPER_1,
        Tool::Tdnf => &rpm::TDNF_3,
        Tool::Microdnf => &rpm::MICRODNF_3,
        Tool::Yum => &rpm::YUM_3,
        Tool::Rpm => &rpm::RPM,
        Tool::Pacman => &pacman::Pacman,
        // A helper's recipe needs the helper ([`helper`]).
        Tool::Helper | Tool::Fragments | Tool::Manifest | Tool::ApkFiles => &Nothing,
    }
}

/// A script, run by the `sh` of a state in an environment of ours; it ends at the first failure. Signature checks of older releases
/// need a `/tmp` to write to, and what scripts leave there is no patch.
fn script(state: &State, plan: &Plan, text: &str, arguments: impl IntoIterator<Item = String>, run: &str) -> Exec {
    let text = format!("set -eu\numask 022\n{text}");
    let shell = ["/bin/sh", "-c", &text, "patchport"].map(str::to_owned);
    state
        .exec(shell.into_iter().chain(arguments))
        .name(format!("upgrade {} {} packages", plan.distribution, plan.suite))
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .env("LC_ALL", "C")
        .env("HOME", "/root")
        .env("PATCHPORT_RUN", run)
        .tmpfs("/tmp", None)
}

/// For images that have nothing to run: they are patched by a helper, or without a container ([`super::direct`]).
struct Nothing;

impl Recipe for Nothing {
    fn upgrade(&self, _: &State, _: &Plan, _: &str) -> Option<Exec> {
        None
    }

    fn install(&self, _: &State, _: &Plan, _: &[String], _: &str) -> Option<Exec> {
        None
    }
}

/// What an exit code comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// The repositories have moved on since the plan was made.
    NotOffered,
    /// The image's own tool may do what the fetched packages did not.
    Incomplete,
    /// The upgrade failed.
    Failed,
}

/// What an exit code of a recipe comes to, and in words.
pub(super) fn explain(tool: Tool, code: i64) -> (Ending, String) {
    let tool = match tool {
        Tool::Helper => "helper's rpm".to_owned(),
        tool => format!("image's {tool}"),
    };
    match code {
        UNREADABLE => (
            Ending::Failed,
            format!("the image's package sources could not be read by the {tool}"),
        ),
        NOT_OFFERED => (
            Ending::NotOffered,
            format!("the image's package sources do not give these upgrades to the {tool}"),
        ),
        INCOMPLETE => (
            Ending::Incomplete,
            format!("the fetched packages could not be installed by the {tool}"),
        ),
        UNTOLD => (
            Ending::Failed,
            format!("the {tool} cannot be told what [[repository]] says"),
        ),
        UNKNOWN_DATABASE => (
            Ending::Failed,
            format!(
                "the {tool} does not find what is installed in the image, whose database may be of a kind that it does not know"
            ),
        ),
        126 | 127 => (Ending::Failed, format!("there is no shell, or no {tool} that runs")),
        FAILED => (Ending::Failed, format!("the {tool} failed")),
        _ => (
            Ending::Failed,
            format!("the upgrade with the {tool} ended with an error"),
        ),
    }
}
