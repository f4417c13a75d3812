//! Packages of programming languages: what files tell, in tables, and against syft on a tree that is made here.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use patchport_packages::language::{self, Ecosystem, Package};
use patchport_packages::layer::{self, Compression, Files, Limits, Pattern, Wanted};
use proptest::prelude::{ProptestConfig, any, prop_oneof};
use proptest::{collection, proptest};

fn files(entries: &[(&str, u32, &[u8])]) -> Files {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, mode, content) in entries {
        let mut header = tar::Header::new_gnu();
        header.set_mode(*mode);
        header.set_size(content.len() as u64);
        tar.append_data(&mut header, path, *content).unwrap();
    }
    merged(&tar.into_inner().unwrap())
}

fn merged(tar: &[u8]) -> Files {
    let wanted = Wanted::packages().with(Pattern::ALL);
    let layer = layer::read(tar, Compression::None, &wanted, &Limits::default()).unwrap();
    layer::merge([&layer])
}

/// `ECOSYSTEM NAME VERSION` of each.
fn told(packages: &[Package]) -> Vec<String> {
    let told = packages.iter().map(
        |Package {
             ecosystem,
             name,
             version,
             ..
         }| format!("{} {name} {version}", ecosystem.as_str()),
    );
    told.collect()
}

/// An executable as the Go linker makes it, as far as anybody looks.
fn go(version: &str, modules: &str) -> Vec<u8> {
    fn varint(length: usize) -> [u8; 2] {
        [
            u8::try_from(length & 0x7f).unwrap() | 0x80,
            u8::try_from(length >> 7).unwrap(),
        ]
    }
    let mut bytes = b"\x7fELF".to_vec();
    bytes.resize(64, 0);
    bytes.extend_from_slice(b"\xff Go buildinf:\x08\x02");
    bytes.resize(96, 0);
    bytes.extend_from_slice(&[&varint(version.len()), version.as_bytes()].concat());
    let sentinel = [0; 16];
    for part in [
        &varint(modules.len() + 32)[..],
        &sentinel,
        modules.as_bytes(),
        &sentinel,
    ] {
        bytes.extend_from_slice(part);
    }
    bytes
}

#[test]
fn what_files_tell() {
    let metadata = "a-1.dist-info/METADATA";
    let package = "node_modules/a/package.json";
    let deps = "app/a.deps.json";
    let table: [(&str, &str, &str, &[&str]); 12] = [
        (
            "Python's headers in any case, the text left alone",
            metadata,
            "Metadata-Version: 2.1\nname: A.b_c\r\nVERSION: 1.0rc1\nSummary: x\n Name: y\n\nVersion: 2\n",
            &["pypi A.b_c 1.0rc1"],
        ),
        ("an old egg", "x/b.egg-info", "Name: b\nVersion: 2\n", &["pypi b 2"]),
        (
            "an egg's directory",
            "x/b.egg-info/PKG-INFO",
            "Name: b\nVersion: 2\n",
            &["pypi b 2"],
        ),
        (
            "a package of a scope",
            package,
            r#"{"name":"@s/a","version":"1.2.3","x":{}}"#,
            &["npm @s/a 1.2.3"],
        ),
        ("no version", package, r#"{"name":"a"}"#, &[]),
        ("a version that is no text", package, r#"{"name":"a","version":1}"#, &[]),
        ("no package at all", package, r#"{"type":"commonjs"}"#, &[]),
        (
            ".NET's libraries that are packages",
            deps,
            r#"{"runtimeTarget":{},"targets":{},"libraries":{"App/1.0.0":{"type":"project"},
               "Serilog/2.10.0":{"type":"package","sha512":"x"},"A.B/1.0.0-rc.1":{"type":"package"}}}"#,
            &["nuget A.B 1.0.0-rc.1", "nuget Serilog 2.10.0"],
        ),
        ("no libraries", deps, "{}", &[]),
        (
            "not a package's directory",
            "node_modules/a/lib/package.json",
            r#"{"name":"b","version":"1"}"#,
            &[],
        ),
        (
            "a mark at the start",
            package,
            "\u{feff}{\"name\":\"a\",\"version\":\"1\"}",
            &["npm a 1"],
        ),
        ("not executable", "usr/bin/x", "\x7fELF", &[]),
    ];
    for (name, path, content, expected) in table {
        let (packages, notes) = language::read(&files(&[(path, 0o644, content.as_bytes())]));
        assert_eq!(told(&packages), expected, "{name}");
        assert_eq!(notes, [""; 0], "{name}");
        assert!(packages.iter().all(|package| package.path == path));
    }
}

#[test]
fn modules_of_go() {
    let table: [(&str, &str, &str, &[&str]); 6] = [
        (
            "main module, dependencies, and one that replaces another",
            "go1.24.1",
            "path\tx.org/x/cmd\nmod\tx.org/x\tv1.2.3\th1:=\ndep\ta.org/a\tv1.0.0\th1:=\ndep\tb.org/b\tv1.0.0\n\
             =>\tc.org/c\tv2.0.0\th1:=\nbuild\t-compiler=gc\n",
            &[
                "golang a.org/a v1.0.0",
                "golang c.org/c v2.0.0",
                "golang stdlib 1.24.1",
                "golang x.org/x v1.2.3",
            ],
        ),
        (
            "replaced by a directory",
            "go1.24",
            "mod\tx.org/x\tv1\ndep\tb.org/b\tv1.0.0\n=>\t./b\t\t\n",
            &["golang b.org/b v1.0.0", "golang stdlib 1.24", "golang x.org/x v1"],
        ),
        (
            "built from a work tree",
            "go1.23 X:boringcrypto",
            "mod\tx.org/x\t(devel)\nbuild\tvcs.revision=0123456789abcdef01234567\nbuild\tvcs.time=2024-01-02T03:04:05Z\n",
            &[
                "golang stdlib 1.23",
                "golang x.org/x v0.0.0-20240102030405-0123456789ab",
            ],
        ),
        (
            "from a work tree that nobody knows",
            "go1.23",
            "mod\tx.org/x\t(devel)\n",
            &["golang stdlib 1.23", "golang x.org/x (devel)"],
        ),
        (
            "Go's own development",
            "devel go1.25-abc",
            "dep\ta\tv1\n",
            &["golang a v1"],
        ),
        (
            "without modules",
            "go1.20",
            "path\tcommand-line-arguments\n",
            &["golang stdlib 1.20"],
        ),
    ];
    for (name, version, modules, expected) in table {
        let (packages, notes) = language::read(&files(&[("usr/bin/x", 0o755, &go(version, modules))]));
        assert_eq!(told(&packages), expected, "{name}");
        assert_eq!(notes, [""; 0], "{name}");
    }
}

#[test]
fn broken_files_are_named() {
    let deep = "[".repeat(100_000);
    let long = format!("Name: {}\nVersion: 1", "n".repeat(513));
    let table: [(&str, &str, &str); 10] = [
        ("a-1.dist-info/METADATA", "", "it has no name"),
        ("a-1.dist-info/METADATA", "Name: a\n\nVersion: 1", "it has no version"),
        ("a-1.dist-info/METADATA", "Name:\nVersion: 1", "it has no name"),
        (
            "a-1.dist-info/METADATA",
            &long,
            "its name is not a word of at most 512 bytes",
        ),
        (
            "a-1.dist-info/METADATA",
            "Name: a\nVersion: 1 2",
            "its version is not a word of at most 512 bytes",
        ),
        (
            "node_modules/a/package.json",
            "{",
            "it is not the JSON that it should be",
        ),
        (
            "node_modules/a/package.json",
            &deep,
            "it is not the JSON that it should be",
        ),
        (
            "node_modules/a/package.json",
            r#"{"name":"a\u0000","version":"1"}"#,
            "its name is not a word of at most 512 bytes",
        ),
        (
            "a.deps.json",
            r#"{"libraries":[]}"#,
            "it is not the JSON that it should be",
        ),
        (
            "a.deps.json",
            r#"{"libraries":{"A":{"type":"package"}}}"#,
            "it has no version",
        ),
    ];
    for (path, content, expected) in table {
        let (packages, notes) = language::read(&files(&[(path, 0o644, content.as_bytes())]));
        assert_eq!(notes, [format!("{path} tells of no package: {expected}")]);
        assert_eq!(packages, []);
    }
    let paths: Vec<String> = (0..60)
        .map(|index| format!("node_modules/p{index:02}/package.json"))
        .collect();
    let many: Vec<(&str, u32, &[u8])> = paths.iter().map(|path| (path.as_str(), 0o644, &b"{"[..])).collect();
    let (_, notes) = language::read(&files(&many));
    assert_eq!(
        (notes.len(), notes[50].as_str()),
        (51, "10 more files tell of no package")
    );
}

/// Writes a tree that has something of each language; `executable` is one that Go built.
fn make_tree(root: &Path, executable: &Path) {
    let site = "usr/lib/python3/site-packages";
    let deps = r#"{"runtimeTarget":{"name":".NETCoreApp,Version=v8.0"},
        "targets":{".NETCoreApp,Version=v8.0":{
            "App/1.0.0":{"dependencies":{"Serilog":"2.10.0"},"runtime":{"App.dll":{}}},
            "Serilog/2.10.0":{"runtime":{"lib/Serilog.dll":{"assemblyVersion":"2.0.0.0","fileVersion":"2.10.0.0"}}}}},
        "libraries":{"App/1.0.0":{"type":"project","serviceable":false,"sha512":""},
            "Serilog/2.10.0":{"type":"package","serviceable":true,"sha512":"x","path":"serilog/2.10.0"}}}"#;
    let files = [
        (
            format!("{site}/PyYAML-6.0.dist-info/METADATA"),
            "Metadata-Version: 2.1\nName: PyYAML\nVersion: 6.0\n\nText: no\n",
        ),
        (
            format!("{site}/zope.interface-5.4.egg-info/PKG-INFO"),
            "Metadata-Version: 1.1\nName: zope.interface\nVersion: 5.4\n",
        ),
        (
            format!("{site}/six-1.16.0.egg-info"),
            "Metadata-Version: 1.1\nName: six\nVersion: 1.16.0\n",
        ),
        (
            "app/node_modules/left-pad/package.json".into(),
            r#"{"name":"left-pad","version":"1.3.0"}"#,
        ),
        (
            "app/node_modules/@babel/core/package.json".into(),
            r#"{"name":"@babel/core","version":"7.0.0"}"#,
        ),
        (
            "app/node_modules/a/node_modules/b/package.json".into(),
            r#"{"name":"b","version":"2.0.0"}"#,
        ),
        (
            "app/node_modules/a/package.json".into(),
            r#"{"name":"a","version":"1.0.0"}"#,
        ),
        ("app/node_modules/a/esm/package.json".into(), r#"{"type":"module"}"#),
        ("srv/App.deps.json".into(), deps),
    ];
    for (path, content) in files {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    fs::create_dir_all(root.join("usr/bin")).unwrap();
    fs::copy(executable, root.join("usr/bin/tool")).unwrap();
}

/// The names as syft has them: Python's by the rule of its index, and Go's own version with `go` before it.
fn as_syft_says(package: &Package) -> (String, String) {
    let (mut name, mut version) = (package.name.clone(), package.version.clone());
    if package.ecosystem == Ecosystem::Pypi {
        name = name.to_lowercase().replace(['_', '.'], "-");
    }
    if package.ecosystem == Ecosystem::Golang && name == "stdlib" {
        version = format!("go{version}");
    }
    (name, version)
}

#[test]
fn the_same_as_syft() {
    let Ok(which) = Command::new("sh")
        .args(["-c", "readlink -f \"$(command -v syft)\""])
        .output()
    else {
        unreachable!("no shell")
    };
    let syft = String::from_utf8(which.stdout).unwrap();
    let syft = Path::new(syft.trim());
    assert!(
        fs::read(syft).is_ok_and(|bytes| bytes.starts_with(b"\x7fELF")),
        "this test needs the executable syft on PATH: tests/tools/install"
    );
    let directory = tempfile::tempdir().unwrap();
    make_tree(directory.path(), syft);
    let mut tar = tar::Builder::new(Vec::new());
    tar.append_dir_all(".", directory.path()).unwrap();
    let (packages, notes) = language::read(&merged(&tar.into_inner().unwrap()));
    assert_eq!(notes, [""; 0]);
    // The version of an executable's own module: syft looks for it among the linker's flags, too.
    let main = "github.com/anchore/syft";
    let ours: BTreeSet<_> = packages
        .iter()
        .map(as_syft_says)
        .filter(|(name, _)| name != main)
        .collect();

    let catalogers = "python-installed-package-cataloger,javascript-package-cataloger,go-module-binary-cataloger,\
        dotnet-deps-cataloger";
    let output = Command::new(syft)
        .args(["scan", "-q", "-o", "json", "--override-default-catalogers", catalogers])
        .arg(format!("dir:{}", directory.path().display()))
        .env("SYFT_CHECK_FOR_APP_UPDATE", "false")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let theirs: BTreeSet<_> = report["artifacts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|artifact| (text(&artifact["name"]), text(&artifact["version"])))
        // It also takes the application for a package of NuGet.
        .filter(|(name, _)| name != main && name != "App")
        .collect();
    assert_eq!(ours, theirs);
    assert!(ours.len() > 150, "{}", ours.len());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn noise_never_panics(
        path in prop_oneof!["a-1[.]dist-info/METADATA", "node_modules/a/package[.]json", "a[.]deps[.]json", "usr/bin/x"],
        noise in collection::vec(any::<u8>(), 0..300),
        words in "(go|mod|dep|=>|build|path|\t|\n|v1|vcs[.]time=|vcs[.]revision=|é)*",
    ) {
        let _ = language::read(&files(&[(&path, 0o755, &noise)]));
        let _ = language::read(&files(&[("usr/bin/x", 0o755, &go("go1.2", &words))]));
    }
}
