//! What the Go linker says of an executable: its main module, the modules it was linked with, and the version of Go
//! (Go's `runtime/debug`, `BuildInfo`). Lines of fields that are separated by tabs.

use super::{Broken, Told, word};

/// The version of a main module that was built from a work tree.
const DEVEL: &str = "(devel)";

/// What is told so far.
#[derive(Default)]
struct Build {
    told: Told,
    main: Option<(String, String)>,
    revision: Option<String>,
    time: Option<String>,
}

pub(super) fn read(bytes: &[u8]) -> Result<Told, Broken> {
    let text = String::from_utf8_lossy(bytes);
    let mut build = Build::default();
    // The module of the line before, which the next may replace.
    let mut before: Option<Module<'_>> = None;
    for line in text.lines() {
        let mut fields = line.split('\t');
        let kind = fields.next().unwrap_or_default();
        let (name, version) = (fields.next().unwrap_or_default(), fields.next().unwrap_or_default());
        if kind == "=>" {
            // A directory in place of a module has no version; the module's own says at least which it stands for.
            if let Some(module) = before.as_mut().filter(|_| !version.is_empty()) {
                (module.name, module.version) = (name, version);
            }
            continue;
        }
        build.add(before.take())?;
        match kind {
            "go" => build.add_go(name)?,
            "mod" | "dep" => before = Some(Module { kind, name, version }),
            "build" => build.setting(name),
            _ => {}
        }
    }
    build.add(before)?;
    build.finish()
}

struct Module<'a> {
    kind: &'a str,
    name: &'a str,
    version: &'a str,
}

impl Build {
    fn add(&mut self, module: Option<Module<'_>>) -> Result<(), Broken> {
        let Some(Module { kind, name, version }) = module else {
            return Ok(());
        };
        let named = (word("name of a module", name)?, version.to_owned());
        if kind == "mod" {
            self.main = Some(named);
        } else if !version.is_empty() {
            self.told.push((named.0, word("version of a module", version)?));
        }
        Ok(())
    }

    /// `go1.24.1`, maybe followed by experiments. A development version of Go has no number.
    fn add_go(&mut self, version: &str) -> Result<(), Broken> {
        let version = version.split(' ').next().unwrap_or_default();
        if let Some(number) = version.strip_prefix("go") {
            self.told.push(("stdlib".to_owned(), word("version of Go", number)?));
        }
        Ok(())
    }

    fn setting(&mut self, setting: &str) {
        match setting.split_once('=') {
            Some(("vcs.revision", value)) => self.revision = Some(value.to_owned()),
            Some(("vcs.time", value)) => self.time = Some(value.to_owned()),
            _ => {}
        }
    }

    fn finish(mut self) -> Result<Told, Broken> {
        if let Some((name, version)) = self.main.take() {
            let version = match version.as_str() {
                "" | DEVEL => self.pseudo_version().unwrap_or_else(|| DEVEL.to_owned()),
                _ => word("version of a module", &version)?,
            };
            self.told.push((name, version));
        }
        Ok(self.told)
    }

    /// What Go would call the commit that the main module was built from (Go modules reference, "Pseudo-versions").
    fn pseudo_version(&self) -> Option<String> {
        let is_hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let revision = self.revision.as_deref()?.get(..12).filter(|text| is_hex(text))?;
        let digits = self.time.as_deref()?.chars().filter(char::is_ascii_digit);
        let time: String = digits.take(14).collect();
        (time.len() == 14).then(|| format!("v0.0.0-{time}-{revision}"))
    }
}
