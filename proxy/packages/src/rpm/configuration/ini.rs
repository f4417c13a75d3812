//! The files of dnf, yum and zypper: sections of options, one a line, continued by lines that begin with a space.
//! Libraries for such files disagree with dnf about continuations, comments behind values and quotes.

/// A section with its options, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Section {
    /// Where it is from.
    pub(crate) file: String,
    pub(crate) name: String,
    options: Vec<(String, String)>,
}

/// Why a file is malformed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not text.
    #[error("it is not UTF-8 text")]
    NotText,
    /// An option before the first section.
    #[error("line {0} stands in no section")]
    NoSection(usize),
    /// Neither section nor option nor continuation.
    #[error("line {0} is neither a section nor an option")]
    Line(usize),
}

impl Section {
    /// What zypper takes for options that a repository does not have.
    pub(crate) fn of_zypper() -> Self {
        Self {
            options: vec![("gpgcheck".to_owned(), "1".to_owned())],
            ..Self::default()
        }
    }

    /// The value of an option; the last one when it comes several times.
    pub(crate) fn value(&self, key: &str) -> Option<&str> {
        let found = self.options.iter().rfind(|(name, _)| name == key);
        found.map(|(_, value)| value.as_str())
    }
}

/// The sections of a file, those with one name once.
pub(crate) fn parse(bytes: &[u8]) -> Result<Vec<Section>, Error> {
    let text = std::str::from_utf8(bytes).map_err(|_| Error::NotText)?;
    let mut sections: Vec<Section> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let number = index + 1;
        if line.trim().is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(rest) = line.strip_prefix('[') {
            let name = rest.split_once(']').ok_or(Error::Line(number))?.0;
            sections.push(Section {
                name: name.to_owned(),
                ..Section::default()
            });
            continue;
        }
        let options = &mut sections.last_mut().ok_or(Error::NoSection(number))?.options;
        if line.starts_with([' ', '\t']) {
            let (_, value) = options.last_mut().ok_or(Error::Line(number))?;
            value.push('\n');
            value.push_str(line.trim());
        } else {
            let (key, value) = line.split_once('=').ok_or(Error::Line(number))?;
            options.push((key.trim().to_owned(), value.trim().to_owned()));
        }
    }
    Ok(sections)
}

/// What a word says about something that is or is not; nothing when it is no such word.
pub(crate) fn flag(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "yes" | "true" | "on" => Some(true),
        "0" | "no" | "false" | "off" => Some(false),
        _ => None,
    }
}

/// The words of a list, which are separated by spaces, commas or lines.
pub(crate) fn list(text: &str) -> Vec<String> {
    let words = text.split([' ', ',', '\n', '\t']).filter(|word| !word.is_empty());
    words.map(ToOwned::to_owned).collect()
}
