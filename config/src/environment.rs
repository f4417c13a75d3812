//! Variables `PATCHPORT__SECTION__KEY` as a layer over the file.
//! A part of digits is an index: `PATCHPORT__LISTENER__0__ADDRESS` changes the first listener.

use config::{ConfigError, Map, Source, Value, ValueKind};

use crate::error::Error;

/// What our variables begin with. `PATCHPORT_CONFIG` and the variables that Kubernetes makes for a service
/// named patchport have one underscore and do not count.
const PREFIX: &str = "PATCHPORT__";

/// The highest index: a typing error must not allocate a list.
const MAX_INDEX: usize = 63;

/// One variable: the key it sets, and its value.
#[derive(Clone, Debug)]
pub(crate) struct Variable {
    key: String,
    value: Value,
}

/// Our variables in the order of their names, so that the result does not depend on the environment's.
pub(crate) fn variables(env: impl IntoIterator<Item = (String, String)>) -> Result<Vec<Variable>, Error> {
    let mut ours: Vec<(String, String)> = env.into_iter().filter(|(name, _)| name.starts_with(PREFIX)).collect();
    ours.sort();
    ours.into_iter()
        .map(|(name, value)| Variable::new(&name, value))
        .collect()
}

impl Variable {
    fn new(name: &str, value: String) -> Result<Self, Error> {
        let key = key_of(name).map_err(|text| Error::Variable {
            name: name.to_owned(),
            text,
        })?;
        let origin = format!("environment variable {name}");
        Ok(Self {
            key,
            value: Value::new(Some(&origin), ValueKind::String(value)),
        })
    }
}

fn key_of(name: &str) -> Result<String, &'static str> {
    let rest = name.strip_prefix(PREFIX).unwrap_or(name).to_ascii_lowercase();
    let parts: Vec<&str> = rest.split("__").collect();
    if parts.len() < 2 {
        return Err("names no key, write PATCHPORT__SECTION__KEY");
    }
    let mut key = String::new();
    for part in parts {
        let is_word = part.starts_with(|first: char| first.is_ascii_lowercase())
            && part
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
        if is_word {
            let dot = if key.is_empty() { "" } else { "." };
            key.extend([dot, part]);
        } else if !key.is_empty() && !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()) {
            let index = part.parse().ok().filter(|index: &usize| *index <= MAX_INDEX);
            let index = index.ok_or("has an index above 63, long lists belong in the file")?;
            key.push_str(&format!("[{index}]"));
        } else {
            return Err("is not of the form PATCHPORT__SECTION__KEY or PATCHPORT__LIST__0__KEY");
        }
    }
    Ok(key)
}

impl Source for Variable {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ConfigError> {
        Ok(Map::from([(self.key.clone(), self.value.clone())]))
    }
}

#[cfg(test)]
mod tests {
    use super::key_of;

    #[test]
    fn names_are_keys() {
        let table = [
            ("PATCHPORT__CACHE__TAG_TTL", Ok("cache.tag_ttl")),
            ("PATCHPORT__cache__tag_ttl", Ok("cache.tag_ttl")),
            ("PATCHPORT__LISTENER__0__ADDRESS", Ok("listener[0].address")),
            ("PATCHPORT__RULE__1__MATCH__2", Ok("rule[1].match[2]")),
            ("PATCHPORT__CACHE", Err("names no key")),
            ("PATCHPORT__", Err("names no key")),
            ("PATCHPORT__CACHE__", Err("is not of the form")),
            ("PATCHPORT__0__ADDRESS", Err("is not of the form")),
            ("PATCHPORT__CACHE__TAG-TTL", Err("is not of the form")),
            ("PATCHPORT__LISTENER__64__ADDRESS", Err("index above 63")),
            (
                "PATCHPORT__LISTENER__99999999999999999999__ADDRESS",
                Err("index above 63"),
            ),
        ];
        for (name, expected) in table {
            let seen = key_of(name);
            let as_expected = match expected {
                Ok(key) => seen.as_deref() == Ok(key),
                Err(part) => seen.as_ref().is_err_and(|text| text.contains(part)),
            };
            assert!(as_expected, "{name}: {seen:?}");
        }
    }
}
