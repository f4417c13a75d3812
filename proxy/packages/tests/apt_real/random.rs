//! Scenes by chance: a few packages that need, provide and exclude one another, in two suites, with holds and pins.
//! The same number makes the same scene.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::kit::{Repository, Scene};

const NAMES: [&str; 9] = ["a", "b", "c", "d", "e", "f", "g", "h", "i"];
const VIRTUAL: [&str; 2] = ["v", "w"];
const RELATIONS: [&str; 5] = ["<<", "<=", "=", ">=", ">>"];

/// A generator of numbers (xorshift64*): tests need neither quality nor a library.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33;
        usize::try_from(number).unwrap() % limit
    }

    fn percent(&mut self, chance: usize) -> bool {
        self.below(100) < chance
    }

    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len())]
    }
}

/// The scene with this number, and a text that shows it.
pub(crate) fn scene(number: u64) -> (Scene, String) {
    let mut dice = Dice(number.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    for _ in 0..8 {
        dice.below(2);
    }
    let status = status(&mut dice);
    let first = offers(&mut dice, 90, &status);
    let mut repositories = vec![Repository::new("bookworm", "Debian", &first)];
    let other = offers(&mut dice, 35, &status);
    let kind = dice.below(4);
    repositories.push(match kind {
        0 => Repository::new("bookworm-backports", "Backports", &other)
            .release("NotAutomatic: yes\nButAutomaticUpgrades: yes\n"),
        1 => Repository::new("experimental", "Experimental", &other).release("NotAutomatic: yes\n"),
        _ => Repository::new("bookworm-security", "Debian-Security", &other),
    });
    let pins = pins(&mut dice);
    let shown = format!("status:\n{status}\nbookworm:\n{first}\nsuite {kind}:\n{other}\npins:\n{pins}");
    (
        Scene::new(repositories, &status).file("etc/apt/preferences", &pins),
        shown,
    )
}

/// What is installed; nothing of it is broken, for apt does not upgrade then.
fn status(dice: &mut Dice) -> String {
    let mut installed = BTreeMap::new();
    for name in NAMES {
        if dice.percent(75) {
            installed.insert(name.to_owned(), dice.below(2) + 1);
        }
    }
    let mut status = String::new();
    for (name, version) in &installed {
        let want = if dice.percent(8) { "hold" } else { "install" };
        let fields = fields(dice, name, 60, Some(&installed));
        let stanza = stanza(name, *version, &fields);
        let _ = write!(status, "{stanza}Status: {want} ok installed\n\n");
    }
    status
}

fn offers(dice: &mut Dice, chance: usize, status: &str) -> String {
    let mut text = String::new();
    for name in NAMES {
        if !dice.percent(chance) {
            continue;
        }
        let version = dice.below(3) + 1;
        let mut own = stanza(name, version, &fields(dice, name, 45, None));
        // Most of what is installed is offered as it is, too.
        let head = format!("Package: {name}\nArchitecture: amd64\nVersion: {version}\n");
        if let Some(same) = status.split("\n\n").find(|stanza| stanza.starts_with(&head)) {
            own = same
                .lines()
                .filter(|line| !line.starts_with("Status"))
                .fold(String::new(), |all, line| all + line + "\n");
        }
        let hash = "0123456789abcdef".repeat(4);
        let _ = write!(text, "{own}Filename: {name}.deb\nSize: 10\nSHA256: {hash}\n\n");
    }
    text
}

fn stanza(name: &str, version: usize, fields: &str) -> String {
    format!("Package: {name}\nArchitecture: amd64\nVersion: {version}\nMaintainer: kit\nDescription: kit\n{fields}")
}

/// Fields of relations; only those that these installed packages, if any, already satisfy.
fn fields(dice: &mut Dice, own: &str, chance: usize, installed: Option<&BTreeMap<String, usize>>) -> String {
    let mut text = String::new();
    for (field, part) in [("Depends", 100), ("Pre-Depends", 10), ("Breaks", 30), ("Conflicts", 15)] {
        if !dice.percent(chance * part / 100) {
            continue;
        }
        let needs = field.ends_with("Depends");
        let groups: Vec<String> = (0..=dice.below(2))
            .filter_map(|_| group(dice, own, needs, installed))
            .collect();
        if !groups.is_empty() {
            let _ = writeln!(text, "{field}: {}", groups.join(", "));
        }
    }
    if installed.is_none() && dice.percent(15) {
        let name = dice.one(&VIRTUAL);
        let version = ["", " (= 1)", " (= 2)"][dice.below(3)];
        let _ = writeln!(text, "Provides: {name}{version}");
    }
    text
}

fn group(dice: &mut Dice, own: &str, needs: bool, installed: Option<&BTreeMap<String, usize>>) -> Option<String> {
    let count = if needs && dice.percent(25) { 2 } else { 1 };
    let (mut parts, mut is_met) = (Vec::new(), false);
    for _ in 0..count {
        let name = if installed.is_none() && dice.percent(10) {
            dice.one(&VIRTUAL)
        } else {
            dice.one(&NAMES)
        };
        if name == own {
            return None;
        }
        let (relation, version) = (dice.one(&RELATIONS), dice.below(3) + 1);
        let any = needs && dice.percent(40);
        let have = installed.and_then(|installed| installed.get(name));
        is_met |= have.is_some_and(|have| any || holds(*have, relation, version));
        parts.push(if any {
            name.to_owned()
        } else {
            format!("{name} ({relation} {version})")
        });
    }
    (installed.is_none() || is_met == needs).then(|| parts.join(" | "))
}

fn holds(have: usize, relation: &str, version: usize) -> bool {
    match relation {
        "<<" => have < version,
        "<=" => have <= version,
        "=" => have == version,
        ">=" => have >= version,
        _ => have > version,
    }
}

fn pins(dice: &mut Dice) -> String {
    let mut text = String::new();
    while dice.percent(30) {
        let package = if dice.percent(25) {
            "*".to_owned()
        } else {
            dice.one(&NAMES).to_owned()
        };
        let of = match dice.below(4) {
            0 if package != "*" => format!("version {}", dice.below(3) + 1),
            1 => "release n=bookworm".to_owned(),
            2 => "release a=now".to_owned(),
            _ => "release l=Debian*".to_owned(),
        };
        // None that would make a downgrade, which is never proposed.
        let priority = ["-1", "1", "100", "400", "501", "990"][dice.below(6)];
        let _ = write!(text, "Package: {package}\nPin: {of}\nPin-Priority: {priority}\n\n");
    }
    text
}
