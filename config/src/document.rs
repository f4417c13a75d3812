//! The configuration file as written, and the one place where it becomes a `Config`.
//! Checks everything and reports all that is wrong, each with its key.

use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    Admin, BuildKit, Cache, Config, Helper, Listener, Log, Patch, Rule, Scan, Server, Sign, Store, listener,
    repository, rule, upstream,
};

/// All tables of a file, with the defaults for those it leaves out.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table")]
pub(crate) struct Document {
    store: Store,
    log: Log,
    server: Server,
    admin: Admin,
    cache: Cache,
    buildkit: BuildKit,
    patch: Patch,
    scan: Scan,
    sign: Sign,
    listener: Vec<listener::Entry>,
    upstream: Vec<upstream::Entry>,
    rule: Vec<rule::Entry>,
    repository: Vec<repository::Entry>,
    helper: Vec<Helper>,
}

impl Default for Document {
    fn default() -> Self {
        Self {
            store: Store::default(),
            log: Log::default(),
            server: Server::default(),
            admin: Admin::default(),
            cache: Cache::default(),
            buildkit: BuildKit::default(),
            patch: Patch::default(),
            scan: Scan::default(),
            sign: Sign::default(),
            listener: vec![listener::Entry::built_in()],
            upstream: upstream::Entry::built_in(),
            rule: vec![rule::Entry::built_in()],
            repository: vec![],
            helper: Helper::built_in(),
        }
    }
}

/// What is wrong, as key and text.
#[derive(Debug, Default)]
pub(crate) struct Problems(pub(crate) Vec<(String, String)>);

impl Problems {
    /// Notes that the value at `key` is wrong.
    pub(crate) fn add(&mut self, key: impl Into<String>, text: impl Into<String>) {
        self.0.push((key.into(), text.into()));
    }

    /// The value, or its error noted under `key`.
    pub(crate) fn keep<T, E: ToString>(&mut self, key: String, result: Result<T, E>) -> Option<T> {
        result.map_err(|error| self.add(key, error.to_string())).ok()
    }
}

impl Document {
    /// The configuration, or everything that is wrong with it. `read` gives the content of a password file
    /// or says why not.
    pub(crate) fn check(self, read: impl Fn(&Path) -> Result<String, String>) -> Result<Config, Problems> {
        let mut problems = Problems::default();
        let found = &mut problems;
        self.check_sections(found);
        let names: Vec<String> = self.upstream.iter().map(|entry| entry.name.clone()).collect();
        let upstreams = each("upstream", self.upstream, |entry, key| entry.check(key, &read, found));
        check_names("upstream", &names, found);
        let listeners = each("listener", self.listener, |entry, key| entry.check(key, &names, found));
        check_addresses(&listeners, &self.admin, found);
        let rules = each("rule", self.rule, |entry, key| entry.check(key, found));
        check_rules(&rules, found);
        let repositories = each("repository", self.repository, |entry, key| {
            entry.check(key, &read, found)
        });
        for (index, helper) in self.helper.iter().enumerate() {
            helper.check(&format!("helper[{index}]"), found);
        }
        if !problems.0.is_empty() {
            return Err(problems);
        }
        Ok(Config {
            store: self.store,
            log: self.log,
            server: self.server,
            listeners,
            admin: self.admin,
            cache: self.cache,
            buildkit: self.buildkit,
            patch: self.patch,
            scan: self.scan,
            sign: self.sign,
            repositories: repositories.into_iter().flatten().collect(),
            helpers: self.helper,
            upstreams: upstreams.into_iter().flatten().collect(),
            rules: rules.into_iter().flatten().collect(),
        })
    }

    fn check_sections(&self, problems: &mut Problems) {
        if self.store.dir.as_os_str().is_empty() {
            problems.add("store.dir", "is empty");
        }
        let durations: [(&str, Duration); 10] = [
            ("server.shutdown_timeout", self.server.shutdown_timeout),
            ("cache.tag_ttl", self.cache.tag_ttl),
            ("cache.upstream_timeout", self.cache.upstream_timeout),
            ("cache.stall_timeout", self.cache.stall_timeout),
            ("patch.timeout", self.patch.timeout),
            ("patch.refresh_after", self.patch.refresh_after),
            ("patch.retry_after", self.patch.retry_after),
            ("scan.timeout", self.scan.timeout),
            ("scan.refresh", self.scan.refresh),
            ("sign.timeout", self.sign.timeout),
        ];
        for (key, _) in durations.iter().filter(|(_, duration)| duration.is_zero()) {
            problems.add(*key, "must be more than zero");
        }
        self.buildkit.check(problems);
        self.scan.check(problems);
        self.sign.check(problems);
    }
}

/// Every entry of a list with its key, such as `rule[0]`.
fn each<E, T>(table: &str, entries: Vec<E>, mut check: impl FnMut(E, &str) -> T) -> Vec<T> {
    let keyed = entries.into_iter().enumerate();
    keyed
        .map(|(index, entry)| check(entry, &format!("{table}[{index}]")))
        .collect()
}

/// Names are unique and there is at least one.
fn check_names(table: &str, names: &[String], problems: &mut Problems) {
    if names.is_empty() {
        problems.add(table, format!("is empty, give at least one [[{table}]]"));
    }
    let mut seen = HashSet::new();
    for (index, name) in names.iter().enumerate() {
        if !seen.insert(name) {
            problems.add(
                format!("{table}[{index}].name"),
                format!("{name:?} is already the name of another [[{table}]]"),
            );
        }
    }
}

/// No address is bound twice. Port 0 stands for a free port, so it never collides.
fn check_addresses(listeners: &[Listener], admin: &Admin, problems: &mut Problems) {
    if listeners.is_empty() {
        problems.add("listener", "is empty, give at least one [[listener]]");
    }
    let mut seen = HashSet::from([admin.address]);
    for (index, listener) in listeners.iter().enumerate() {
        if !seen.insert(listener.address) && listener.address.port() != 0 {
            let address = listener.address;
            let text = format!("{address} is already the address of [admin] or another [[listener]]");
            problems.add(format!("listener[{index}].address"), text);
        }
    }
}

/// Every reference is decided, and no rule is out of reach. A rule that did not parse is no reason to
/// complain about the others.
fn check_rules(rules: &[Option<Rule>], problems: &mut Problems) {
    let Some((last, others)) = rules.split_last() else {
        problems.add("rule", "is empty, give at least one [[rule]]");
        return;
    };
    if let Some(false) = last.as_ref().map(Rule::matches_everything) {
        let text = "must match everything (\"**\"), it is the last rule";
        problems.add(format!("rule[{}].match", others.len()), text);
    }
    for (index, rule) in others.iter().enumerate() {
        if rule.as_ref().is_some_and(Rule::matches_everything) {
            problems.add(
                format!("rule[{index}].match"),
                "matches everything, so the rules after it are never reached",
            );
        }
    }
    let names: Vec<String> = rules.iter().flatten().map(|rule| rule.name.clone()).collect();
    if names.len() == rules.len() {
        check_names("rule", &names, problems);
    }
}

impl From<&Config> for Document {
    fn from(config: &Config) -> Self {
        let config = config.clone();
        Self {
            listener: config.listeners.iter().map(Into::into).collect(),
            upstream: config.upstreams.iter().map(Into::into).collect(),
            rule: config.rules.iter().map(Into::into).collect(),
            repository: config.repositories.iter().map(Into::into).collect(),
            helper: config.helpers,
            store: config.store,
            log: config.log,
            server: config.server,
            admin: config.admin,
            cache: config.cache,
            buildkit: config.buildkit,
            patch: config.patch,
            scan: config.scan,
            sign: config.sign,
        }
    }
}
