//! The platforms that an engine patches: natively, or by an emulator where that will do.

use std::fmt;

use patchport_oci::Platform;

/// The platforms that an engine patches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Platforms {
    /// Those of its own processors.
    pub native: Vec<Platform>,
    /// Those that it emulates, several times slower.
    pub emulated: Vec<Platform>,
}

impl Platforms {
    /// Whether a platform is among those that are native, or emulated.
    pub fn runs(&self, platform: &Platform, emulated: bool) -> bool {
        let platforms = if emulated { &self.emulated } else { &self.native };
        platforms.iter().any(|own| own.same(platform))
    }

    /// Whether a platform is native, or emulated where that will do.
    pub fn allow(&self, platform: &Platform, emulation: bool) -> bool {
        self.runs(platform, false) || (emulation && self.runs(platform, true))
    }

    /// These and those of another engine.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        for (own, others) in [(&mut self.native, other.native), (&mut self.emulated, other.emulated)] {
            for platform in others {
                if !own.contains(&platform) {
                    own.push(platform);
                }
            }
        }
        self
    }
}

/// For people: `linux/amd64, linux/386; emulated linux/arm64`.
impl fmt::Display for Platforms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |platforms: &[Platform]| platforms.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        f.write_str(&list(&self.native))?;
        if self.emulated.is_empty() {
            return Ok(());
        }
        write!(f, "; emulated {}", list(&self.emulated))
    }
}
