//! An image made entry by entry, packages for it, and what the layer has that they come to.

use std::collections::BTreeMap;
use std::io::Cursor;

use tar::EntryType;

use super::super::*;
use crate::deb;
use crate::deb::tests::Deb;
use crate::layer::archive::Archive;
use crate::layer::sum::Algorithm;
use crate::layer::{Compression, LayerTree, Limits, Wanted, merge};

/// A tar of a test.
#[derive(Clone, Default)]
pub(super) struct Tar(pub(super) Vec<(tar::Header, Vec<(String, Vec<u8>)>, Vec<u8>)>);

impl Tar {
    pub(super) fn add(mut self, kind: EntryType, path: &str, link: &str, mode: u32, content: &[u8]) -> Self {
        let mut header = tar::Header::new_gnu();
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_700_000_000);
        header.set_size(content.len() as u64);
        header.set_cksum();
        self.0.push((header, Vec::new(), content.to_vec()));
        self
    }

    pub(super) fn file(self, path: &str, content: &str) -> Self {
        self.add(EntryType::Regular, path, "", 0o644, content.as_bytes())
    }

    pub(super) fn directory(self, path: &str) -> Self {
        self.add(EntryType::Directory, path, "", 0o755, b"")
    }

    pub(super) fn symlink(self, path: &str, target: &str) -> Self {
        self.add(EntryType::Symlink, path, target, 0o777, b"")
    }

    pub(super) fn hard_link(self, path: &str, target: &str) -> Self {
        self.add(EntryType::Link, path, target, 0o644, b"")
    }

    /// An extended record for the last entry.
    pub(super) fn record(mut self, key: &str, value: &[u8]) -> Self {
        self.0.last_mut().unwrap().1.push((key.to_owned(), value.to_vec()));
        self
    }

    /// With the sums that apk wants of each entry of a package.
    pub(super) fn summed(mut self) -> Self {
        for (header, records, content) in &mut self.0 {
            let link = header
                .link_name_bytes()
                .map(std::borrow::Cow::into_owned)
                .unwrap_or_default();
            let what = match header.entry_type() {
                EntryType::Regular => &content[..],
                EntryType::Symlink => &link[..],
                _ => continue,
            };
            records.push((
                "APK-TOOLS.checksum.SHA1".to_owned(),
                hex(&Algorithm::Sha1.sum(what)).into_bytes(),
            ));
        }
        self
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (header, records, content) in &self.0 {
            if !records.is_empty() {
                let records = records.iter().map(|(key, value)| (key.as_str(), value.as_slice()));
                builder.append_pax_extensions(records).unwrap();
            }
            builder.append(header, &content[..]).unwrap();
        }
        builder.into_inner().unwrap()
    }
}

pub(super) fn md5(content: &str) -> String {
    hex(&Algorithm::Md5.sum(content.as_bytes()))
}

/// What a layer has: by path the kind, mode, target or content.
pub(super) type Listing = BTreeMap<String, (EntryType, u32, String)>;

pub(super) struct Scene {
    image: Tar,
    pub(super) debs: Vec<(String, Deb)>,
    /// Packages of apk: name, what they say about themselves, their files.
    apks: Vec<(String, tool::Head, Tar)>,
}

impl Scene {
    pub(super) fn new(image: Tar) -> Self {
        Self {
            image,
            debs: Vec::new(),
            apks: Vec::new(),
        }
    }

    /// A package of apk, whose `.PKGINFO` says more.
    pub(super) fn apk(mut self, name: &str, version: &str, data: Tar, more: &str) -> Self {
        let mut head = tool::Head::new(&format!(
            "pkgname = {name}\npkgver = {version}\narch = x86_64\nsize = 7\n{more}"
        ));
        head.checksum = "Q1bmV3bmV3bmV3bmV3bmV3bmV3bmU=".to_owned();
        self.apks.push((name.to_owned(), head, data));
        self
    }

    /// The last one has a script.
    pub(super) fn script(mut self, kind: &'static str) -> Self {
        let (_, head, _) = self.apks.last_mut().unwrap();
        head.scripts.push(kind);
        self
    }

    pub(super) fn deb(mut self, name: &str, version: &str, data: Tar, control: &[(&str, &str)]) -> Self {
        let mut deb = Deb::new(name, version);
        deb.data = data.bytes();
        let more = control
            .iter()
            .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
        deb.control.extend(more);
        self.debs.push((name.to_owned(), deb));
        self
    }

    pub(super) fn run(&self) -> Result<(Outcome, Vec<u8>), Error> {
        let apks = self.apks.iter().map(|(name, head, data)| Incoming {
            name: name.clone(),
            architecture: "x86_64".to_owned(),
            about: About::Apk(Box::new(head.clone())),
            data: Cursor::new(data.bytes()),
        });
        let incoming: Vec<_> = self
            .debs
            .iter()
            .map(|(name, deb)| {
                let mut data = Vec::new();
                let control = deb::read(&deb.bytes(".xz")[..], &mut data).unwrap();
                Incoming {
                    name: name.clone(),
                    architecture: "amd64".to_owned(),
                    about: About::Debian(control),
                    data: Cursor::new(data),
                }
            })
            .chain(apks)
            .collect();
        over(&self.image.bytes(), incoming).unwrap()
    }

    #[track_caller]
    pub(super) fn layer(&self) -> Listing {
        let (outcome, bytes) = self.run().unwrap();
        assert!(matches!(outcome, Outcome::Layer { .. }), "{outcome:?}");
        assert_eq!(bytes, self.run().unwrap().1, "the same each time");
        listing(&bytes)
    }

    #[track_caller]
    pub(super) fn refused(&self) -> String {
        match self.run().unwrap().0 {
            Outcome::Refused(refusals) => refusals[0].reason.clone(),
            Outcome::Layer { .. } => panic!("taken"),
        }
    }
}

/// What packages over an image come to; nothing where that is no image.
fn over(image: &[u8], mut incoming: Vec<Incoming<Cursor<Vec<u8>>>>) -> Option<Result<(Outcome, Vec<u8>), Error>> {
    let limits = Limits::default();
    let read = layer::read(image, Compression::None, &Wanted::packages(), &limits).ok()?;
    let files = merge([&read]);
    let mut composed = || {
        let watch = watch(&files, &mut incoming)?;
        let mut tree = Tree::default();
        let layer = LayerTree::read(image, &watch, &limits).map_err(Error::Database)?;
        tree.apply(layer).map_err(Error::Database)?;
        let mut out = Vec::new();
        let outcome = compose(&files, tree, &mut incoming, &mut out)?;
        Ok((outcome, out))
    };
    Some(composed())
}

/// The same of one package of apk, whatever its tar is.
pub(super) fn apk_over(image: &[u8], name: &str, data: Vec<u8>) {
    let head = tool::Head::new(&format!("pkgname = {name}\npkgver = 2-r0\narch = x86_64\n"));
    let package = Incoming {
        name: name.to_owned(),
        architecture: "x86_64".to_owned(),
        about: About::Apk(Box::new(head)),
        data: Cursor::new(data),
    };
    let _ = over(image, vec![package]);
}

pub(super) fn listing(bytes: &[u8]) -> Listing {
    let mut archive = Archive::new(bytes, Limits::default());
    let mut found = Listing::new();
    while let Some(member) = archive.next().unwrap() {
        let path = String::from_utf8(member.path.clone()).unwrap();
        let text = match member.header.entry_type() {
            EntryType::Regular => String::from_utf8(archive.read_content(1 << 20).unwrap().unwrap()).unwrap(),
            _ => String::from_utf8(member.link.clone()).unwrap(),
        };
        let old = found.insert(
            path.clone(),
            (member.header.entry_type(), member.header.mode().unwrap(), text),
        );
        assert!(old.is_none(), "{path} is there twice");
    }
    found
}

pub(super) fn text<'a>(listing: &'a Listing, path: &str) -> &'a str {
    &listing
        .get(path)
        .unwrap_or_else(|| panic!("no {path} in {:?}", listing.keys()))
        .2
}
