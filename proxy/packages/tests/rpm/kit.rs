//! Packages and databases that the real tools make: rpmbuild, rpm, Berkeley DB's loader.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use patchport_packages::layer::{self, Compression, Files, Limits, Wanted};
use patchport_packages::{OsRelease, rpm};

/// Runs a real tool, which must be there and succeed.
pub(crate) fn run(command: &mut Command) -> Output {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output();
    let output = output.unwrap_or_else(|error| panic!("this test needs {program} ({error}): tests/tools/install bed"));
    assert!(
        output.status.success(),
        "{command:?}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// What a package is built from.
#[derive(Clone, Debug, Default)]
pub(crate) struct Made {
    pub(crate) name: String,
    /// `[epoch:]version-release`.
    pub(crate) version: String,
    pub(crate) modularity: String,
    /// Lines of description, which make a header large.
    pub(crate) lines: usize,
    /// Further lines of the preamble, such as `Requires: x`.
    pub(crate) preamble: String,
}

impl Made {
    pub(crate) fn new(name: &str, version: &str) -> Self {
        Self {
            name: name.to_owned(),
            version: version.to_owned(),
            ..Self::default()
        }
    }
}

/// Builds packages of one source package named `source`, for an architecture; `folder` keeps them all.
pub(crate) fn build(folder: &Path, source: &str, architecture: &str, packages: &[Made]) -> Vec<PathBuf> {
    let mut spec = format!("Name: {source}\nVersion: 1\nRelease: 7.el9\nSummary: s\nLicense: MIT\n");
    writeln!(
        spec,
        "Vendor: Some Vendor, Inc. <https://vendor.example/>\n%description\nx\n"
    )
    .unwrap();
    for made in packages {
        let (epoch, rest) = made.version.split_once(':').unwrap_or(("0", &made.version));
        let (version, release) = rest.split_once('-').unwrap();
        let name = &made.name;
        writeln!(
            spec,
            "%package -n {name}\nSummary: s\nVersion: {version}\nRelease: {release}"
        )
        .unwrap();
        if epoch != "0" {
            writeln!(spec, "Epoch: {epoch}").unwrap();
        }
        if !made.modularity.is_empty() {
            writeln!(spec, "ModularityLabel: {}", made.modularity).unwrap();
        }
        writeln!(spec, "{}\n%description -n {name}", made.preamble).unwrap();
        for line in 0..made.lines {
            writeln!(spec, "line {line} of a text that nobody reads\n").unwrap();
        }
        writeln!(spec, "%files -n {name}\n").unwrap();
    }
    let file = folder.join(format!("{source}.spec"));
    std::fs::write(&file, spec).unwrap();
    let top = folder.join(format!("{source}-{architecture}"));
    let mut rpmbuild = Command::new("rpmbuild");
    rpmbuild.args(["-bb", "--quiet", "--target", architecture, "--define"]);
    run(rpmbuild.arg(format!("_topdir {}", top.display())).arg(&file));
    let built = std::fs::read_dir(top.join("RPMS").join(architecture)).unwrap();
    built.map(|entry| entry.unwrap().path()).collect()
}

fn rpm_on(database: &Path, backend: &str) -> Command {
    let mut rpm = Command::new("rpm");
    rpm.arg("--dbpath").arg(database);
    rpm.args(["--define", &format!("_db_backend {backend}")]);
    rpm
}

/// Where rpm looks for the database below a root; Debian has it in a home directory.
pub(crate) fn database(root: &Path) -> PathBuf {
    let output = run(Command::new("rpm").args(["--eval", "%{_dbpath}"]));
    let path = String::from_utf8(output.stdout).unwrap();
    root.join(path.trim().trim_start_matches('/'))
}

/// Puts packages into a SQLite database without their files.
pub(crate) fn install(database: &Path, packages: &[PathBuf]) {
    std::fs::create_dir_all(database).unwrap();
    let mut rpm = rpm_on(database, "sqlite");
    rpm.args([
        "-i",
        "--nodeps",
        "--justdb",
        "--ignorearch",
        "--nosignature",
        "--oldpackage",
    ]);
    run(rpm.args(packages));
}

/// Takes packages out of it again.
pub(crate) fn erase(database: &Path, names: &[&str]) {
    run(rpm_on(database, "sqlite")
        .args(["-e", "--nodeps", "--justdb"])
        .args(names));
}

/// What rpm says is installed: a line a package, sorted, its fields separated by bars.
pub(crate) fn query(database: &Path, backend: &str) -> Vec<String> {
    let format = "%{NAME}|%{ARCH}|%{EPOCHNUM}|%{VERSION}-%{RELEASE}|%{SOURCERPM}|%{VENDOR}|%{MODULARITYLABEL}\\n";
    let output = run(rpm_on(database, backend).args(["-qa", "--qf", format]));
    let mut lines: Vec<String> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(ToOwned::to_owned)
        .collect();
    lines.sort();
    lines
}

/// The keys and headers of a SQLite database.
pub(crate) fn headers(database: &Path) -> Vec<(u32, Vec<u8>)> {
    let mut sqlite = Command::new("sqlite3");
    sqlite
        .arg(database.join("rpmdb.sqlite"))
        .arg("SELECT hnum, hex(blob) FROM Packages");
    let output = String::from_utf8(run(&mut sqlite).stdout).unwrap();
    let row = |line: &str| {
        let (key, blob) = line.split_once('|').unwrap();
        let bytes = (0..blob.len()).step_by(2);
        let bytes = bytes.map(|at| u8::from_str_radix(&blob[at..at + 2], 16).unwrap());
        (key.parse().unwrap(), bytes.collect())
    };
    output.lines().map(row).collect()
}

/// A hash table that Berkeley DB made, with numbers in little (1234) or big (4321) order.
pub(crate) fn berkeley(folder: &Path, headers: &[(u32, Vec<u8>)], page_size: u32, order: u32) -> Vec<u8> {
    let hex = |bytes: &[u8]| {
        bytes.iter().fold(String::new(), |mut text, byte| {
            write!(text, "{byte:02x}").unwrap();
            text
        })
    };
    let mut dump = format!("VERSION=3\nformat=bytevalue\ntype=hash\ndb_pagesize={page_size}\ndb_lorder={order}\n");
    dump.push_str("HEADER=END\n 00000000\n 7f000000\n");
    for (key, header) in headers {
        writeln!(dump, " {}\n {}", hex(&key.to_le_bytes()), hex(header)).unwrap();
    }
    dump.push_str("DATA=END\n");
    std::fs::create_dir_all(folder).unwrap();
    let (file, text) = (folder.join("Packages"), folder.join("dump"));
    std::fs::write(&text, dump).unwrap();
    let input = std::fs::File::open(&text).unwrap();
    run(Command::new("db5.3_load").arg(&file).stdin(Stdio::from(input)));
    std::fs::read(file).unwrap()
}

/// An NDB database as rpm's `rpmpkg.c` writes it; Debian's rpm is built without that format.
pub(crate) fn ndb(headers: &[(u32, Vec<u8>)]) -> Vec<u8> {
    let word = |number: usize| u32::try_from(number).unwrap().to_le_bytes();
    let slots = (32 + headers.len() * 16).next_multiple_of(4096);
    let mut file = [
        b"RpmP".as_slice(),
        &word(0),
        &word(9),
        &word(slots / 4096),
        &word(headers.len() + 1),
    ]
    .concat();
    file.resize(32, 0);
    let mut blobs: Vec<u8> = Vec::new();
    for (key, header) in headers {
        let blocks = (16 + header.len() + 12).div_ceil(16);
        let place = (slots + blobs.len()) / 16;
        file.extend([b"Slot".as_slice(), &key.to_le_bytes(), &word(place), &word(blocks)].concat());
        let start = blobs.len();
        blobs.extend(
            [
                b"BlbS".as_slice(),
                &key.to_le_bytes(),
                &word(7),
                &word(header.len()),
                header,
            ]
            .concat(),
        );
        blobs.resize(start + blocks * 16 - 12, 0);
        blobs.extend([&word(0), word(header.len()).as_slice(), b"BlbE"].concat());
    }
    while file.len() < slots {
        file.extend([b"Slot".as_slice(), &[0; 12]].concat());
    }
    file.extend(blobs);
    file
}

/// An image of one layer with these files.
pub(crate) fn image(files: &[(&str, &str)]) -> Files {
    let mut archive = tar::Builder::new(Vec::new());
    for (path, text) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, path, text.as_bytes()).unwrap();
    }
    let wanted = Wanted::new(rpm::CONFIGURATION_FILES, rpm::CONFIGURATION_DIRECTORIES);
    let bytes = archive.into_inner().unwrap();
    let layer = layer::read(bytes.as_slice(), Compression::None, &wanted, &Limits::default()).unwrap();
    layer::merge([&layer])
}

/// An `os-release` with these two lines, and perhaps more.
pub(crate) fn os(id: &str, version: &str, like: &str) -> OsRelease {
    OsRelease::parse(format!("ID={id}\nVERSION_ID=\"{version}\"\nID_LIKE=\"{like}\"\n").as_bytes()).unwrap()
}
