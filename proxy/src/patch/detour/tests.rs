//! What each tool is told, word for word, and what is refused because it cannot be told. The real tools read it in the suites.

use patchport_config::Config;
use patchport_packages::inventory::Manager;
use patchport_packages::layer::{self, Compression, Limits, Wanted};
use patchport_packages::{Inventory, OsRelease};

use super::*;
use crate::sources::Sources;

/// The operator's files, and a fetcher with a table in which `{D}` is their folder.
struct Operator {
    folder: tempfile::TempDir,
    fetcher: Fetcher,
}

fn operator(table: &str) -> Operator {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    for name in ["one.pem", "two.pem"] {
        std::fs::write(path(name), include_str!("tests/authority.pem")).unwrap();
    }
    std::fs::write(path("kit.asc"), "-----BEGIN PGP PUBLIC KEY BLOCK-----\n").unwrap();
    std::fs::write(path("kit.rsa.pub"), "a key of apk\n").unwrap();
    let table = table.replace("{D}", &folder.path().display().to_string());
    std::fs::write(path("patchport.toml"), table).unwrap();
    let config = Config::load(Some(&path("patchport.toml")), []).unwrap();
    let fetcher = Fetcher::new(config.repositories, Sources::default()).unwrap();
    Operator { folder, fetcher }
}

impl Operator {
    fn draft(&self, tool: Tool) -> Draft<'_> {
        Draft {
            tool,
            fetcher: &self.fetcher,
            detour: Detour::default(),
            copied: BTreeMap::new(),
        }
    }
}

/// An image's files.
fn files(files: &[(&str, &str)]) -> Files {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, path, content.as_bytes()).unwrap();
    }
    let tar = tar.into_inner().unwrap();
    let read = layer::read(&tar[..], Compression::Detect, &Wanted::packages(), &Limits::default()).unwrap();
    layer::merge([&read])
}

fn inventory(manager: Manager) -> Inventory {
    Inventory {
        os: OsRelease::parse(b"ID=kit\n").unwrap(),
        manager,
        packages: vec![],
        held: vec![],
        repositories: Repositories::default(),
        tools: vec![],
    }
}

fn text<'a>(draft: &'a Draft<'_>, path: &str) -> &'a str {
    std::str::from_utf8(draft.detour.files.get(path).map_or(b"", |bytes| &bytes[..])).unwrap()
}

#[tokio::test]
async fn apt_is_told_sources_keys_authorities_and_logins() {
    let operator = operator(
        r#"
[[repository]]
match = "deb.example.org/debian"
mirror = "https://mirror.example/deb"
ca = "{D}/one.pem"
keys = "{D}/kit.asc"
username = "robot"
password = "canary"
expired = "allow"
[[repository]]
match = "http://plain.example"
proxy = "http://proxy.example:3128"
unsigned = "allow"
"#,
    );
    let image = files(&[
        (
            "etc/apt/sources.list",
            "deb [arch=amd64 by-hash=no] http://deb.example.org/debian bookworm bookworm2\ndeb http://other.example/x ./\n",
        ),
        (
            "etc/apt/sources.list.d/more.sources",
            "Types: deb deb-src\nURIs: http://plain.example/a http://deb.example.org/debian/b\nSuites: one two\nComponents: main\nLanguages: de fr\nSigned-By: /usr/share/keyrings/own.gpg\n",
        ),
        ("etc/apt/trusted.gpg.d/image.gpg", "a key"),
    ]);
    let mut draft = operator.draft(Tool::Apt);
    apt::draft(&mut draft, &image, &inventory(Manager::Dpkg)).await.unwrap();
    let at = DETOUR;
    let expected = format!(
        "deb [arch=amd64 signed-by=/etc/apt/trusted.gpg.d/image.gpg,{at}/operator-1.asc check-valid-until=no by-hash=no] https://mirror.example/deb/ bookworm bookworm2\n\
         deb http://other.example/x/ ./ \n\
         deb [signed-by=/usr/share/keyrings/own.gpg trusted=yes lang=de,fr] http://plain.example/a/ one main\n\
         deb [signed-by=/usr/share/keyrings/own.gpg trusted=yes lang=de,fr] http://plain.example/a/ two main\n\
         deb [signed-by=/usr/share/keyrings/own.gpg,{at}/operator-1.asc check-valid-until=no lang=de,fr] https://mirror.example/deb/b/ one main\n\
         deb [signed-by=/usr/share/keyrings/own.gpg,{at}/operator-1.asc check-valid-until=no lang=de,fr] https://mirror.example/deb/b/ two main\n"
    );
    assert_eq!(text(&draft, "sources.list"), expected);
    let settings = text(&draft, "apt.conf");
    for line in [
        format!("Dir::Etc::sourcelist \"{at}/sources.list\";"),
        format!("Acquire::https::CAInfo::mirror.example \"{at}/ca-0.pem\";"),
        "Acquire::http::Proxy::plain.example \"http://proxy.example:3128\";".to_owned(),
    ] {
        assert!(settings.lines().any(|own| own == line), "{line} in {settings}");
    }
    assert!(!settings.contains("other.example"), "{settings}");
    let login = text(&draft, "auth.conf").lines().next();
    assert_eq!(login, Some("machine mirror.example/deb/ login robot password canary"));
    assert!(!expected.contains("canary") && !settings.contains("canary"));
}

#[tokio::test]
async fn who_is_not_named_is_told_nothing() {
    let operator = operator("[[repository]]\nmatch = \"deb.example.org\"\n");
    let image = files(&[
        ("etc/apt/sources.list", "deb http://other.example/x ./\n"),
        ("etc/apk/repositories", "https://other.example/main\n/local\n"),
        ("etc/pacman.conf", "[core]\nServer = https://other.example/$repo\n"),
    ]);
    let mut apt = operator.draft(Tool::Apt);
    apt::draft(&mut apt, &image, &inventory(Manager::Dpkg)).await.unwrap();
    let mut apk = operator.draft(Tool::Apk);
    apk::draft(&mut apk, &image, &inventory(Manager::Apk)).await.unwrap();
    let mut pacman = operator.draft(Tool::Pacman);
    pacman::draft(&mut pacman, &image, &patchport_oci::Platform::new("linux", "amd64", ""))
        .await
        .unwrap();
    for draft in [apt, apk, pacman] {
        assert!(draft.detour.is_empty() && draft.detour.variables.is_empty());
    }
}

#[tokio::test]
async fn apk_is_told_repositories_and_keys_and_what_is_one_for_all() {
    let operator = operator(
        r#"
[[repository]]
match = "apk.example.org/alpine"
mirror = "https://mirror.example/apk"
ca = "{D}/one.pem"
proxy = "http://proxy.example:3128"
keys = "{D}/kit.rsa.pub"
username = "ro:bot"
password = "p@ss/word"
"#,
    );
    let image = files(&[
        (
            "etc/apk/repositories",
            "@edge https://apk.example.org/alpine/edge/main\n/local/packages\nhttp://direct.example/x\nhttps://apk.example.org/alpine/i/APKINDEX.tar.gz\n",
        ),
        ("etc/apk/keys/image.rsa.pub", "the image's own"),
    ]);
    let mut draft = operator.draft(Tool::Apk);
    apk::draft(&mut draft, &image, &inventory(Manager::Apk)).await.unwrap();
    let expected = "@edge https://ro%3Abot:p%40ss%2Fword@mirror.example/apk/edge/main\n/local/packages\nhttp://direct.example/x\n\
                    ndx https://ro%3Abot:p%40ss%2Fword@mirror.example/apk/i/APKINDEX.tar.gz\n";
    assert_eq!(text(&draft, "repositories"), expected);
    assert_eq!(text(&draft, "keys/image.rsa.pub"), "the image's own");
    assert_eq!(text(&draft, "keys/kit.rsa.pub"), "a key of apk\n");
    let variable = |name| draft.detour.variables.get(name).map(String::as_str);
    assert_eq!(variable("SSL_CERT_FILE"), Some("/dev/patchport/detour/ca-0.pem"));
    assert_eq!(variable("https_proxy"), Some("http://proxy.example:3128"));
    assert_eq!(variable("no_proxy"), Some("direct.example"));
}

#[tokio::test]
async fn pacman_is_told_servers_with_what_its_settings_include() {
    let operator = operator(
        "[[repository]]\nmatch = \"arch.example.org/core/os/x86_64\"\nmirror = \"https://mirror.example/core\"\narchive = \"https://old.example/core\"\n",
    );
    let image = files(&[
        (
            "etc/pacman.conf",
            "[options]\nArchitecture = auto\n[core]\nInclude = /etc/pacman.d/mirrorlist\n[extra]\nServer = https://arch.example.org/$repo/os/$arch\n",
        ),
        (
            "etc/pacman.d/mirrorlist",
            "# mirrors\nServer = https://arch.example.org/$repo/os/$arch\n",
        ),
    ]);
    let amd64 = patchport_oci::Platform::new("linux", "amd64", "");
    let mut draft = operator.draft(Tool::Pacman);
    pacman::draft(&mut draft, &image, &amd64).await.unwrap();
    let expected = "[options]\nArchitecture = auto\n[core]\n# mirrors\nServer = https://mirror.example/core\nServer = https://old.example/core\n\
                    [extra]\nServer = https://arch.example.org/$repo/os/$arch\n";
    assert_eq!(text(&draft, "pacman.conf"), expected);

    let image = files(&[("etc/pacman.conf", "[core]\nInclude = /etc/pacman.d/others\n")]);
    let error = pacman::draft(&mut operator.draft(Tool::Pacman), &image, &amd64)
        .await
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("/etc/pacman.d/others, which is not looked at"),
        "{error}"
    );
}

#[test]
fn a_section_that_is_named_says_the_operators_words_and_the_rest_stays() {
    let file = "# of the image\n[one]\nname=One\nbaseurl=http://a.example/\n   http://b.example/\nproxy=http://old:1\nenabled=1\n\n[two]\nmirrorlist=http://c.example/\n";
    let section = vec![
        ("baseurl", "https://m.example/".to_owned()),
        ("gpgkey", "file:///k".to_owned()),
    ];
    let (sections, mut written) = ([("one".to_owned(), section)].into(), Vec::new());
    let made = rpm::rewritten(file, &sections, &mut written);
    let expected = "# of the image\n[one]\nbaseurl=https://m.example/\ngpgkey=file:///k\nname=One\nenabled=1\n\n[two]\nmirrorlist=http://c.example/\n";
    assert_eq!((made.as_str(), &written[..]), (expected, &["one".to_owned()][..]));
}

/// Tables that a tool cannot obey, an image that they are about, and why.
const REFUSED: [(Tool, &str, &str, &str); 6] = [
    (
        Tool::Apt,
        "[[repository]]\nmatch = \"a.example/x\"\nca = \"{D}/one.pem\"\n[[repository]]\nmatch = \"a.example/y\"\nca = \"{D}/two.pem\"\n",
        "deb https://a.example/x s main\ndeb https://a.example/y s main\n",
        "one `ca` and one `proxy` for all repositories of a.example",
    ),
    (
        Tool::Apt,
        "[[repository]]\nmatch = \"https://a.example\"\nusername = \"u\"\npassword = \"a b\"\n",
        "deb https://a.example/x s main\n",
        "a user or password with blanks",
    ),
    (
        Tool::Apk,
        "[[repository]]\nmatch = \"a.example\"\nca = \"{D}/one.pem\"\n",
        "https://a.example/x\nhttps://b.example/x\n",
        "one `ca` for all repositories of an image",
    ),
    (
        Tool::Apk,
        "[[repository]]\nmatch = \"a.example\"\nproxy = \"http://p.example\"\n[[repository]]\nmatch = \"b.example\"\nproxy = \"http://q.example\"\n",
        "http://a.example/x\nhttp://b.example/x\n",
        "one `proxy` for all repositories of an image, and there are several",
    ),
    (
        Tool::Apk,
        "[[repository]]\nmatch = \"a.example/x\"\nproxy = \"http://p.example\"\n",
        "http://a.example/x\nhttp://a.example/y\n",
        "all repositories of a.example through one `proxy`, or none",
    ),
    (
        Tool::Apk,
        "[[repository]]\nmatch = \"a.example/x\"\nkeys = \"{D}/missing\"\n",
        "http://a.example/x\n",
        "missing of a [[repository]] cannot be used",
    ),
];

#[tokio::test]
async fn what_a_tool_cannot_be_told_is_an_error_that_says_what() {
    for (tool, table, words, reason) in REFUSED {
        let operator = operator(table);
        let image = files(&[("etc/apt/sources.list", words), ("etc/apk/repositories", words)]);
        let mut draft = operator.draft(tool);
        let drafted = match tool {
            Tool::Apt => apt::draft(&mut draft, &image, &inventory(Manager::Dpkg)).await,
            _ => apk::draft(&mut draft, &image, &inventory(Manager::Apk)).await,
        };
        let error = drafted.unwrap_err().to_string();
        assert!(error.contains(reason), "{table}: {error}");
        assert!(!error.contains("a b"), "{error}");
    }
    let operator = operator("[[repository]]\nmatch = \"a.example\"\nkeys = \"{D}/large\"\n");
    std::fs::write(operator.folder.path().join("large"), vec![0; MAX_SECRET + 1]).unwrap();
    let error = read(&operator.folder.path().join("large")).await.unwrap_err();
    assert!(error.to_string().contains("more than 512000 bytes"), "{error}");
}
