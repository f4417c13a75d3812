//! The form of a registry's name: a lower-case host with an optional port.
//! Names are compared as text in the upstream table, so there must be one spelling of each.

/// Whether `text` is `host` or `host:port`: lower-case letters, digits, inner hyphens and dots.
pub(crate) fn is_host(text: &str) -> bool {
    let (host, port) = text
        .split_once(':')
        .map_or((text, None), |(host, port)| (host, Some(port)));
    let port_fits = port.is_none_or(is_port);
    port_fits && text.len() <= 255 && host.split('.').all(is_label)
}

/// What `is_host` takes, for error texts.
pub(crate) const HOST_FORM: &str =
    "a lower-case host or host:port, such as \"registry.example.com\" or \"localhost:5000\"";

fn is_label(label: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&label.len()) && !label.starts_with('-') && !label.ends_with('-') && label.bytes().all(inner)
}

/// No sign, no leading zero, not port 0.
fn is_port(text: &str) -> bool {
    text.starts_with(|first: char| ('1'..='9').contains(&first)) && text.parse::<u16>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::is_host;

    #[test]
    fn one_spelling_per_host() {
        for good in [
            "docker.io",
            "localhost",
            "localhost:5000",
            "127.0.0.1:65535",
            "a-b.example",
        ] {
            assert!(is_host(good), "{good}");
        }
        let bad = [
            "",
            "Docker.io",
            "docker.io/",
            "docker..io",
            ".io",
            "-a",
            "a-",
            "a:",
            "a:0",
            "a:+1",
            "a:05",
            "a:65536",
            "a b",
            "ü.de",
            "u@h",
        ];
        for bad in bad {
            assert!(!is_host(bad), "{bad}");
        }
    }
}
