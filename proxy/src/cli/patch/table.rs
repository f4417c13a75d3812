//! What is planned for an image, or was done to it, as text for people: a table of packages, and what is left out and why.

use comfy_table::{ContentArrangement, Table, presets};

use super::progress::clean;
use crate::plan::Planned;

/// A narrower terminal is taken for one of so many columns.
const NARROWEST: u16 = 40;

/// The table of a plan; empty when there is nothing to say.
pub(super) fn plan(planned: &Planned, width: u16) -> String {
    let upgrades = planned.plan.as_ref().map_or(&[][..], |plan| &plan.upgrades);
    if upgrades.is_empty() && planned.left_out.is_empty() {
        return String::new();
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_content_arrangement(ContentArrangement::Dynamic);
    table.set_width(width.max(NARROWEST));
    table.set_header(["PACKAGE", "ARCHITECTURE", "INSTALLED", "TO", "WHAT"]);
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    for upgrade in upgrades {
        let what = if upgrade.exact {
            "upgrade"
        } else {
            "upgrade, at least to this"
        };
        table.add_row([
            clean(&upgrade.name),
            clean(&upgrade.architecture),
            clean(upgrade.from.as_str()),
            clean(upgrade.to.as_str()),
            what.to_owned(),
        ]);
    }
    for left in &planned.left_out {
        let fixed = left.fixed.as_ref().map(ToString::to_string).unwrap_or_default();
        table.add_row([
            clean(&left.name),
            clean(&left.architecture),
            clean(left.installed.as_str()),
            clean(&fixed),
            format!("left out: {}", clean(&left.reason)),
        ]);
    }
    table.trim_fmt() + "\n"
}

/// How many upgrades a plan has, and how many packages it leaves out.
pub(super) fn sum(planned: &Planned) -> String {
    let upgrades = planned.plan.as_ref().map_or(0, |plan| plan.upgrades.len());
    let left = match planned.left_out.len() {
        0 => String::new(),
        count => format!(", {count} left out"),
    };
    match upgrades {
        0 => format!("nothing to patch{left}"),
        1 => format!("1 upgrade{left}"),
        many => format!("{many} upgrades{left}"),
    }
}
