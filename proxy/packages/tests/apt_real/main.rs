//! What apt would upgrade, beside the real apt: cases with what they are for, and scenes by chance.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::fmt::Write as _;

mod kit;
mod ours;
mod random;
mod scenes;

/// Where we leave alone what apt changes, since nothing newer comes of it or somebody did not want it, and where either of
/// two packages could stay for the other.
const OTHERWISE: [&str; 4] = [
    "the same version, built anew with other dependencies",
    "holds that are ignored",
    "a pin over 1000 is a downgrade",
    "two that exclude one another at their new versions",
];

/// Scenes by chance; each takes apt a quarter of a second. Of the first 300 one differs in a plain upgrade, too: there are two
/// ways out, and apt takes the other.
const SCENES: u64 = 30;

#[test]
fn cases_are_decided_as_the_real_apt_does() {
    let mut wrong = String::new();
    for case in scenes::cases() {
        let said =
            [case.plain, case.with_new].map(|list| list.iter().map(ToString::to_string).collect::<Vec<String>>());
        let real = case.scene.upgrades();
        if real.as_ref() != Ok(&said) {
            let _ = writeln!(wrong, "{}:\n  apt  {real:?}\n  said {said:?}", case.name);
        }
        let ours = ours::findings(&case.scene).each_ref().map(ours::upgrades);
        let said = said.map(|list| kit::of_installed(&case.scene, &list));
        if (ours == said) == OTHERWISE.contains(&case.name) {
            let _ = writeln!(wrong, "{}:\n  ours {ours:?}\n  said {said:?}", case.name);
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// With new packages, apt's order decides which of two stays for the other, and that depends on fields that no index keeps:
/// few scenes may differ then, but none in a plain upgrade.
#[test]
fn scenes_by_chance_are_decided_as_the_real_apt_does() {
    let mut differ = Vec::new();
    for number in 0..SCENES {
        let (scene, shown) = random::scene(number);
        // apt refuses to upgrade where something is broken before, which chance rarely makes.
        let Ok(real) = scene.upgrades() else { continue };
        let real = real.map(|list| kit::of_installed(&scene, &list));
        let ours = ours::findings(&scene).each_ref().map(ours::upgrades);
        assert_eq!(ours[0], real[0], "scene {number}\n{shown}");
        if ours[1] != real[1] {
            differ.push(number);
        }
    }
    assert!(differ.len() as u64 * 10 <= SCENES, "with new packages: {differ:?}");
}
