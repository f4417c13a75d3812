//! Copacetic's bulk files (`copa.sh/v1alpha1`, `PatchConfig`): many images, and which of their tags.
//!
//! Every patch starts from the original: tags that are patched images of others are passed by. Two images never go to the same
//! place.

use std::collections::{HashMap, HashSet};
use std::io::Read as _;
use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use patchport_oci::{Platform, Tag};
use serde::Deserialize;

use super::arguments::platform;
use super::destination::Title;
use super::newest::{newest_first, version};
use crate::route::Place;

/// The largest file, in bytes.
const MAX_SIZE: u64 = 1024 * 1024;
/// More images than one run can do.
const MAX_JOBS: usize = 10_000;
/// More pages of tags than a repository has.
const MAX_PAGES: usize = 100;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct File {
    api_version: String,
    kind: String,
    #[serde(default)]
    target: Target,
    #[serde(default)]
    images: Vec<Entry>,
    // What is known and not done is told apart from what is misspelt.
    #[serde(default)]
    charts: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    chart_target: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    overrides: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    chisel_release: Option<serde::de::IgnoredAny>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Target {
    #[serde(default)]
    registry: Option<String>,
    #[serde(default)]
    tag: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Entry {
    name: String,
    image: String,
    tags: Tags,
    #[serde(default)]
    target: Target,
    #[serde(default)]
    platforms: Vec<String>,
    #[serde(default)]
    chisel_release: Option<serde::de::IgnoredAny>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Tags {
    strategy: Strategy,
    #[serde(default)]
    pattern: Option<String>,
    #[serde(default)]
    max_tags: usize,
    #[serde(default)]
    list: Vec<String>,
    #[serde(default)]
    exclude: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Strategy {
    List,
    Pattern,
    Latest,
}

/// A bulk file.
pub(super) struct Bulk {
    entries: Vec<Group>,
}

/// One image of a file, and which tags of it.
pub(super) struct Group {
    name: String,
    pub(super) image: String,
    repository: String,
    template: String,
    platforms: Vec<Platform>,
    tags: Tags,
    pattern: Option<regex::Regex>,
}

/// One image to patch.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Job {
    /// The original.
    pub(super) image: String,
    /// What it becomes.
    pub(super) title: Title,
    /// The platforms; all, if it names none.
    pub(super) platforms: Vec<Platform>,
}

/// Whether a file is a bulk file, and not a configuration of Patchport.
pub fn is_bulk(file: &Path) -> bool {
    let mut text = String::new();
    let read = std::fs::File::open(file).and_then(|opened| opened.take(MAX_SIZE).read_to_string(&mut text));
    read.is_ok() && text.lines().any(|line| line.starts_with("apiVersion:"))
}

impl Bulk {
    /// Reads a file; `suffix` ends the tags of patched images where the file has no template.
    ///
    /// # Errors
    /// When it is no such file, or has something that is not done here.
    pub(super) fn read(file: &Path, suffix: &str) -> anyhow::Result<Self> {
        let subject = || format!("cannot use {}", file.display());
        let mut text = String::new();
        let opened = std::fs::File::open(file).with_context(subject)?;
        opened
            .take(MAX_SIZE + 1)
            .read_to_string(&mut text)
            .with_context(subject)?;
        ensure!(
            text.len() as u64 <= MAX_SIZE,
            "{} is larger than {MAX_SIZE} bytes",
            file.display()
        );
        Self::parse(&text, suffix).with_context(subject)
    }

    fn parse(text: &str, suffix: &str) -> anyhow::Result<Self> {
        let file: File = serde_saphyr::from_str(text).map_err(|error| anyhow::anyhow!("{error}"))?;
        ensure!(
            file.api_version == "copa.sh/v1alpha1" && file.kind == "PatchConfig",
            "it is {} {}; a PatchConfig of copa.sh/v1alpha1 is wanted",
            file.api_version,
            file.kind
        );
        let undone = [
            ("charts", file.charts.is_some()),
            ("chartTarget", file.chart_target.is_some()),
            ("overrides", file.overrides.is_some()),
            ("chiselRelease", file.chisel_release.is_some()),
        ];
        if let Some((name, _)) = undone.iter().find(|(_, is_given)| *is_given) {
            bail!("`{name}` is not supported; name the images under `images`");
        }
        ensure!(!file.images.is_empty(), "it has no images");
        let entries = file.images.into_iter().map(|entry| {
            let name = entry.name.clone();
            group(entry, &file.target, suffix).with_context(|| format!("image {name:?}"))
        });
        Ok(Self {
            entries: entries.collect::<anyhow::Result<_>>()?,
        })
    }

    /// The images of the file.
    pub(super) fn groups(&self) -> &[Group] {
        &self.entries
    }
}

fn group(entry: Entry, common: &Target, suffix: &str) -> anyhow::Result<Group> {
    ensure!(entry.chisel_release.is_none(), "`chiselRelease` is not supported");
    ensure!(!entry.image.is_empty(), "`image` is empty");
    let image = entry.image.trim_end_matches('/').to_owned();
    ensure!(
        !image.contains('@'),
        "`image` names a digest; the tags stand under `tags`"
    );
    let last = image.rsplit('/').next().unwrap_or_default().to_owned();
    ensure!(!last.contains(':'), "`image` has a tag; the tags stand under `tags`");
    let registry = entry.target.registry.as_ref().or(common.registry.as_ref());
    let repository = registry.map_or_else(
        || image.clone(),
        |registry| format!("{}/{last}", registry.trim_end_matches('/')),
    );
    let template = entry.target.tag.or_else(|| common.tag.clone());
    let template = template.unwrap_or_else(|| format!("{{{{ .SourceTag }}}}-{suffix}"));
    expand(&template, "1")
        .parse::<Tag>()
        .with_context(|| format!("the template {template:?} gives no tag"))?;
    ensure!(
        expand(&template, "a") != expand(&template, "b")
            || entry.tags.strategy == Strategy::Latest
            || entry.tags.list.len() == 1,
        "the template {template:?} gives all tags the same name; use {{{{ .SourceTag }}}}"
    );
    match entry.tags.strategy {
        Strategy::List => ensure!(
            !entry.tags.list.is_empty(),
            "the strategy `list` needs a `list` of tags"
        ),
        Strategy::Pattern => ensure!(entry.tags.pattern.is_some(), "the strategy `pattern` needs a `pattern`"),
        Strategy::Latest => {}
    }
    let pattern = entry.tags.pattern.as_deref().map(regex::Regex::new).transpose();
    let platforms = entry
        .platforms
        .iter()
        .map(|text| platform(text).map_err(anyhow::Error::msg));
    Ok(Group {
        name: entry.name,
        image,
        repository,
        template,
        platforms: platforms.collect::<anyhow::Result<_>>()?,
        pattern: pattern.context("`pattern` is no regular expression")?,
        tags: entry.tags,
    })
}

/// The tag of a patched image: `{{ .SourceTag }}` is the original's.
fn expand(template: &str, tag: &str) -> String {
    let mut text = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        let Some((name, after)) = after.split_once("}}") else {
            break;
        };
        text.push_str(before);
        match name.trim() {
            ".SourceTag" => text.push_str(tag),
            // No tag has a brace: what is not known is refused with the result.
            other => text.push_str(&format!("{{{{{other}}}}}")),
        }
        rest = after;
    }
    text + rest
}

impl Group {
    /// Whether the registry has to be asked for its tags.
    pub(super) fn needs_tags(&self) -> bool {
        self.tags.strategy != Strategy::List
    }

    /// What is to be patched of it, given the tags that there are.
    pub(super) fn jobs(&self, listed: &[Tag]) -> anyhow::Result<Vec<Job>> {
        let is_excluded = |tag: &str| self.tags.exclude.iter().any(|excluded| excluded == tag);
        let mut chosen: Vec<&str> = match self.tags.strategy {
            Strategy::List => self.tags.list.iter().map(String::as_str).collect(),
            Strategy::Pattern | Strategy::Latest => {
                // What we, or Copacetic, made of another tag is no original.
                let made: HashSet<String> = listed.iter().map(|tag| expand(&self.template, tag.as_str())).collect();
                let is_ours = |tag: &str| self.repository == self.image && made.contains(tag);
                let mut tags: Vec<&str> = listed.iter().map(Tag::as_str).filter(|tag| !is_ours(tag)).collect();
                match (&self.pattern, self.tags.strategy) {
                    (Some(pattern), Strategy::Pattern) => tags.retain(|tag| pattern.is_match(tag)),
                    _ => tags.retain(|tag| !version(tag).0.is_empty()),
                }
                tags.sort_by(|a, b| newest_first(a, b));
                tags
            }
        };
        chosen.retain(|tag| !is_excluded(tag));
        let most = match (self.tags.strategy, self.tags.max_tags) {
            (Strategy::Latest, _) => 1,
            (Strategy::List, _) | (_, 0) => usize::MAX,
            (Strategy::Pattern, most) => most,
        };
        chosen.truncate(most);
        ensure!(
            !chosen.is_empty(),
            "image {:?}: no tag of {} is chosen",
            self.name,
            self.image
        );
        let job = |tag: &&str| {
            let title = Title {
                repository: Some(self.repository.clone()),
                tag: expand(&self.template, tag),
            };
            let named = title
                .tag
                .parse::<Tag>()
                .with_context(|| format!("image {:?}: {:?} is no tag", self.name, title.tag));
            named.map(|_| Job {
                image: format!("{}:{tag}", self.image),
                title,
                platforms: self.platforms.clone(),
            })
        };
        chosen.iter().map(job).collect()
    }
}

/// All tags of a repository.
///
/// # Errors
/// When the registry does not list them.
pub(super) async fn tags(place: &Place) -> anyhow::Result<Vec<Tag>> {
    let (mut all, mut seen) = (Vec::<Tag>::new(), HashSet::new());
    for _ in 0..MAX_PAGES {
        let asked = place.site.upstream.tags(&place.repository, all.last()).await;
        let (page, more) = asked.with_context(|| format!("cannot list the tags of {place}"))?;
        let before = all.len();
        all.extend(page.into_iter().filter(|tag| seen.insert(tag.as_str().to_owned())));
        if !more || all.len() == before {
            break;
        }
    }
    Ok(all)
}

/// Refuses jobs of which one would overwrite what another has made.
pub(super) fn apart(jobs: &[Job]) -> anyhow::Result<()> {
    ensure!(
        jobs.len() <= MAX_JOBS,
        "there are {} images to patch, {MAX_JOBS} at most are",
        jobs.len()
    );
    let mut taken: HashMap<String, &str> = HashMap::new();
    for job in jobs {
        if let Some(other) = taken.insert(job.title.short(), &job.image) {
            bail!(
                "{other} and {} would both become {}; give one of them a target of its own",
                job.image,
                job.title.short()
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(images: &str) -> String {
        format!("apiVersion: copa.sh/v1alpha1\nkind: PatchConfig\nimages:\n{images}")
    }

    fn chosen(tags: &str, listed: &[&str]) -> Vec<String> {
        let text = file(&format!(
            "  - name: app\n    image: r.example/team/app\n    tags: {tags}\n"
        ));
        let bulk = Bulk::parse(&text, "patched").unwrap();
        let listed: Vec<Tag> = listed.iter().map(|tag| tag.parse().unwrap()).collect();
        let jobs = bulk.groups()[0].jobs(&listed).unwrap();
        jobs.into_iter().map(|job| job.title.tag).collect()
    }

    #[test]
    fn tags_are_chosen_by_list_pattern_and_version() {
        let listed = [
            "1.2-alpine",
            "1.10.0",
            "1.9.0",
            "1.10.0-rc1",
            "bookworm",
            "1.10.0-patched",
            "latest",
            "1.9.0-patched",
        ];
        for (tags, expected) in [
            (
                r#"{strategy: list, list: ["a", "b"], exclude: ["b"]}"#,
                vec!["a-patched"],
            ),
            ("{strategy: latest}", vec!["1.10.0-patched"]),
            ("{strategy: latest, exclude: ['1.10.0']}", vec!["1.10.0-rc1-patched"]),
            // Tags that are no semantic versions count; patched images are no originals.
            (
                r"{strategy: pattern, pattern: '^1\.', maxTags: 2}",
                vec!["1.10.0-patched", "1.10.0-rc1-patched"],
            ),
            (
                r"{strategy: pattern, pattern: 'alpine$|^book'}",
                vec!["1.2-alpine-patched", "bookworm-patched"],
            ),
        ] {
            assert_eq!(chosen(tags, &listed), expected, "{tags}");
        }
    }

    #[test]
    fn targets_are_templates_and_never_collide() {
        let text = r#"
apiVersion: copa.sh/v1alpha1
kind: PatchConfig
target: {registry: "r.example/out/", tag: "{{ .SourceTag }}-fixed"}
images:
  - {name: a, image: one.example/team/app, tags: {strategy: list, list: ["1"]}, platforms: [linux/arm64]}
  - {name: b, image: two.example/app, tags: {strategy: list, list: ["1"]}}
  - {name: c, image: two.example/app, target: {registry: r.example/other, tag: "p{{.SourceTag}}"}, tags: {strategy: list, list: ["1"]}}
"#;
        let bulk = Bulk::parse(text, "patched").unwrap();
        let jobs: Vec<Job> = bulk
            .groups()
            .iter()
            .flat_map(|group| group.jobs(&[]).unwrap())
            .collect();
        let names: Vec<String> = jobs.iter().map(|job| job.title.full().unwrap()).collect();
        assert_eq!(
            names,
            [
                "r.example/out/app:1-fixed",
                "r.example/out/app:1-fixed",
                "r.example/other/app:p1"
            ]
        );
        assert_eq!(jobs[0].platforms, [Platform::new("linux", "arm64", "")]);
        let collision = apart(&jobs).unwrap_err().to_string();
        assert!(
            collision.contains("one.example/team/app:1 and two.example/app:1"),
            "{collision}"
        );
        assert!(apart(&jobs[1..]).is_ok());
    }

    #[test]
    fn what_is_wrong_or_not_done_is_said() {
        let entry = |more: &str| file(&format!("  - {{name: a, image: app, {more}}}\n"));
        for (text, expected) in [
            ("apiVersion: v1\nkind: Pod\n".to_owned(), "PatchConfig"),
            (file("  []\n"), "no images"),
            (file("  []\ncharts: [{name: a}]\n"), "`charts` is not supported"),
            (entry("tags: {strategy: newest}"), "newest"),
            (entry("tags: {strategy: list}"), "`list`"),
            (entry("tags: {strategy: pattern, pattern: '('}"), "regular expression"),
            (
                entry("tags: {strategy: latest}, target: {tag: '{{ .Other }}'}"),
                "gives no tag",
            ),
            (
                entry("tags: {strategy: pattern, pattern: a}, target: {tag: x}"),
                "SourceTag",
            ),
            (entry("tags: {strategy: latest}, wrong: 1"), "wrong"),
            (entry("tags: {strategy: latest}, platforms: [arm64]"), "os/architecture"),
        ] {
            let error = Bulk::parse(&text, "patched").err().unwrap_or_else(|| panic!("{text}"));
            assert!(format!("{error:#}").contains(expected), "{text}: {error:#}");
        }
    }
}
