//! How single values are read: durations, counts, addresses, one-or-many lists.
//! Each says what is allowed when it refuses; the `config` crate alone would round and convert silently.

use std::net::SocketAddr;
use std::time::Duration;

use config::{Value, ValueKind};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize as _, Serializer};

/// Durations as `10s`, `5m`, `1h 30m`.
pub(crate) mod duration {
    pub(crate) use humantime_serde::serialize;

    use super::{Deserializer, Duration, duration_error};

    /// Reads a duration with its unit.
    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        humantime_serde::deserialize(deserializer).map_err(|_| duration_error())
    }

    /// The same for a setting that may be absent.
    pub(crate) mod optional {
        pub(crate) use humantime_serde::option::serialize;

        use super::{Deserializer, Duration, duration_error};

        /// Reads a duration with its unit, or nothing.
        pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
            humantime_serde::option::deserialize(deserializer).map_err(|_| duration_error())
        }
    }
}

fn duration_error<E: serde::de::Error>() -> E {
    E::custom("must be a duration with a unit, such as \"500ms\", \"20s\", \"5m\" or \"1h 30m\"")
}

/// Reads a whole number from 1 to `MAX`; digits in a string are taken too, for the environment has no
/// other form.
pub(crate) fn count<'de, D: Deserializer<'de>, const MAX: u32>(deserializer: D) -> Result<u32, D::Error> {
    let number = match Value::deserialize(deserializer)?.kind {
        ValueKind::I64(number) => u32::try_from(number).ok(),
        ValueKind::U64(number) => u32::try_from(number).ok(),
        ValueKind::String(text) => text.parse().ok(),
        _ => None,
    };
    number
        .filter(|number| (1..=MAX).contains(number))
        .ok_or_else(|| D::Error::custom(format!("must be a whole number from 1 to {MAX}")))
}

/// The same for a setting that may be absent.
pub(crate) fn optional_count<'de, D: Deserializer<'de>, const MAX: u32>(
    deserializer: D,
) -> Result<Option<u32>, D::Error> {
    count::<D, MAX>(deserializer).map(Some)
}

/// Reads an IP address with a port.
pub(crate) fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    String::deserialize(deserializer)?
        .parse()
        .map_err(|_| D::Error::custom("must be an IP address and a port, such as \"127.0.0.1:5000\" or \"[::]:5000\""))
}

/// Reads `true` or `false`; the words in a string are taken too, for the environment.
pub(crate) fn switch<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<bool>, D::Error> {
    match Value::deserialize(deserializer)?.kind {
        ValueKind::Nil => Ok(None),
        ValueKind::Boolean(value) => Ok(Some(value)),
        ValueKind::String(text) if text == "true" => Ok(Some(true)),
        ValueKind::String(text) if text == "false" => Ok(Some(false)),
        _ => Err(D::Error::custom("must be true or false")),
    }
}

/// Reads one string or a list of strings.
pub(crate) fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let refused = || D::Error::custom("must be a string or a list of strings");
    match Value::deserialize(deserializer)?.kind {
        ValueKind::String(text) => Ok(vec![text]),
        ValueKind::Array(values) => values
            .into_iter()
            .map(|value| match value.kind {
                ValueKind::String(text) => Ok(text),
                _ => Err(refused()),
            })
            .collect(),
        _ => Err(refused()),
    }
}

/// Writes a list of strings; one alone as itself.
pub(crate) fn as_one_or_many<S: Serializer>(values: &[String], serializer: S) -> Result<S::Ok, S::Error> {
    match values {
        [value] => value.serialize(serializer),
        values => values.serialize(serializer),
    }
}
