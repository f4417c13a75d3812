//! apt.conf(5), as far as single options are asked for: `A::B "x";`, `A { B "x"; };` and lists of both forms.
//! Whatever else stands there is skipped; nothing is an error, for most of it is hooks and menus.

/// The deepest nesting that is followed.
const MAX_DEPTH: usize = 32;

/// More values than any image sets.
const MAX_VALUES: usize = 100_000;

/// Values by their full name in lower case, in the order in which they were set; items of lists under `name::`.
#[derive(Debug, Default)]
pub(super) struct Conf {
    values: Vec<(String, String)>,
}

/// A piece of the file.
#[derive(Debug, PartialEq, Eq)]
enum Token<'a> {
    Word(&'a str),
    Quoted(&'a str),
    Open,
    Close,
    End,
}

impl Conf {
    /// Reads one more file; what it sets counts over what was set before.
    pub(super) fn read(&mut self, text: &[u8]) {
        let text = String::from_utf8_lossy(text);
        let mut rest = &*text;
        // The name that each open brace belongs to, and the name and value since the last `;` or brace.
        let mut scopes: Vec<String> = Vec::new();
        let (mut name, mut value): (Option<&str>, Option<&str>) = (None, None);
        while let Some(token) = next(&mut rest) {
            match token {
                Token::Word(word) if name.is_none() => name = Some(word),
                Token::Word(word) | Token::Quoted(word) => value = Some(word),
                Token::End | Token::Open | Token::Close => {
                    let full = joined(scopes.last().map_or("", String::as_str), name.unwrap_or_default());
                    if name.is_some() || value.is_some() {
                        self.set(full.clone(), name, value);
                    }
                    if token == Token::Open && scopes.len() < MAX_DEPTH {
                        scopes.push(full);
                    } else if token == Token::Close {
                        scopes.pop();
                    }
                    (name, value) = (None, None);
                }
            }
        }
    }

    fn set(&mut self, full: String, name: Option<&str>, value: Option<&str>) {
        if name.is_some_and(|name| name.eq_ignore_ascii_case("#clear")) {
            let cleared = value.unwrap_or_default().to_ascii_lowercase();
            let below = format!("{cleared}::");
            self.values
                .retain(|(name, _)| *name != cleared && !name.starts_with(&below));
        } else if let Some(value) = value.filter(|_| self.values.len() < MAX_VALUES) {
            self.values.push((full, value.to_owned()));
        }
    }

    /// The last value of an option.
    pub(super) fn value(&self, name: &str) -> Option<&str> {
        let name = name.to_ascii_lowercase();
        let found = self.values.iter().rev().find(|(known, _)| *known == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The items of a list.
    pub(super) fn list(&self, name: &str) -> Vec<String> {
        let name = format!("{}::", name.to_ascii_lowercase());
        let found = self.values.iter().filter(|(known, _)| *known == name);
        found.map(|(_, value)| value.clone()).collect()
    }
}

fn joined(scope: &str, name: &str) -> String {
    let separator = if scope.is_empty() { "" } else { "::" };
    format!("{scope}{separator}{name}").to_ascii_lowercase()
}

/// Takes the next token off `rest`, comments skipped.
fn next<'a>(rest: &mut &'a str) -> Option<Token<'a>> {
    loop {
        *rest = rest.trim_start();
        let directive = ["#clear", "#include"].iter().any(|word| starts_with(rest, word));
        if rest.starts_with("//") || (rest.starts_with('#') && !directive) {
            *rest = rest.find('\n').map_or("", |end| &rest[end..]);
        } else if rest.starts_with("/*") {
            *rest = rest.find("*/").map_or("", |end| &rest[end + 2..]);
        } else {
            break;
        }
    }
    let first = rest.chars().next()?;
    let after = &rest[first.len_utf8()..];
    let (token, after) = match first {
        '{' => (Token::Open, after),
        '}' => (Token::Close, after),
        ';' => (Token::End, after),
        '"' => {
            let (quoted, after) = after.split_once('"').unwrap_or((after, ""));
            (Token::Quoted(quoted), after)
        }
        _ => {
            let end = after.find(|c: char| c.is_whitespace() || "{};\"".contains(c));
            let (word, after) = rest.split_at(end.map_or(rest.len(), |end| first.len_utf8() + end));
            (Token::Word(word), after)
        }
    };
    *rest = after;
    Some(token)
}

fn starts_with(text: &str, word: &str) -> bool {
    text.get(..word.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conf(text: &str) -> Conf {
        let mut conf = Conf::default();
        conf.read(text.as_bytes());
        conf
    }

    #[test]
    fn values() {
        let cases = [
            ("one line", r#"APT::Default-Release "sid";"#, Some("sid")),
            ("nested", "APT { Default-Release \"sid\"; };", Some("sid")),
            ("without quotes", "APT::Default-Release sid;", Some("sid")),
            (
                "mixed",
                "APT {\n Foo { Bar \"x\"; };\n Default-Release \"sid\";\n};",
                Some("sid"),
            ),
            (
                "last counts",
                "apt::default-release \"a\"; APT{Default-Release \"b\";}",
                Some("b"),
            ),
            ("line comment", "// APT::Default-Release \"sid\";\n", None),
            ("hash comment", "# it's \"\nAPT::Default-Release \"sid\";", Some("sid")),
            (
                "block comment",
                "/* APT { */ APT::Default-Release /* x */ \"sid\";",
                Some("sid"),
            ),
            (
                "url is no comment",
                "A \"http://a//b\"; APT::Default-Release \"sid\";",
                Some("sid"),
            ),
            (
                "cleared",
                "APT::Default-Release \"sid\"; #clear APT::Default-Release;",
                None,
            ),
            ("not ended", "APT::Default-Release \"sid", None),
        ];
        for (name, text, expected) in cases {
            assert_eq!(conf(text).value("APT::Default-Release"), expected, "{name}");
        }
    }

    #[test]
    fn lists() {
        let nested = conf("APT::Architectures { \"amd64\"; \"i386\"; };");
        assert_eq!(nested.list("apt::architectures"), ["amd64", "i386"]);
        let flat = conf("APT::Architectures:: \"amd64\"; APT { Architectures:: \"i386\"; };");
        assert_eq!(flat.list("apt::architectures"), ["amd64", "i386"]);
    }

    proptest::proptest! {
        #[test]
        fn never_panics(text in "[a-z:{};\"#/* \nü]{0,200}") {
            conf(&text);
        }
    }
}
