//! What a first pull costs when there is nothing to patch, beside the same pull by a rule that passes; and what the answer for a
//! tag costs that is decided. The real binary, a real registry.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use patchport_kit::client::{ACCEPT, pull};
use patchport_kit::tools::Podman;
use patchport_kit::{Image, Layer, Mirror, Registry};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::measure::{line, median};

/// How often each is pulled.
const RUNS: usize = 7;
/// How often a tag is asked for.
const ASKED: usize = 2000;
/// Bytes per second of an upstream that is not beside us: 200 Mbit/s.
const FAR: f64 = 25e6;

/// How far ahead of its rate a line may be.
const LATER: Duration = Duration::from_millis(10);

/// Where an image is to which there is nothing to do.
#[derive(clap::Args)]
pub(crate) struct Upstream {
    /// The registry, `HOST:PORT`.
    #[arg(long)]
    registry: String,
    /// The repository of packages that the image names, as a URL.
    #[arg(long)]
    apt: String,
    /// The image there.
    #[arg(long, default_value = "fixtures")]
    repository: String,
    /// Its tag.
    #[arg(long, default_value = "current")]
    tag: String,
}

pub(crate) fn run(upstream: &Upstream) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let far = Throttle::start(&upstream.registry, FAR).await?;
        pulls(upstream, &upstream.registry, "upstream beside us").await;
        pulls(upstream, &far.address.to_string(), "upstream at 200 Mbit/s").await;
        unpacked(upstream).await;
        head(upstream).await
    })
}

/// Alternating first pulls by either rule.
async fn pulls(upstream: &Upstream, host: &str, name: &str) {
    let (mut passed, mut patched) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        passed.push(first(upstream, host, "pass").await);
        patched.push(first(upstream, host, "patch").await);
    }
    let (passed, patched) = (median(passed), median(patched));
    line(&format!("first pull, {name}: pass"), passed, "s", None, "");
    let what = format!("first pull, {name}: nothing to patch");
    line(&what, patched, "s", Some(("pass", passed)), "<= 1.10 x pass");
}

/// The same by Podman, which unpacks what it pulls, as what runs containers does.
async fn unpacked(upstream: &Upstream) {
    let (mut passed, mut patched) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        passed.push(podman(upstream, "pass").await);
        patched.push(podman(upstream, "patch").await);
    }
    let (passed, patched) = (median(passed), median(patched));
    line("first pull by Podman, upstream beside us: pass", passed, "s", None, "");
    let what = "first pull by Podman, upstream beside us: no patch";
    line(what, patched, "s", Some(("pass", passed)), "<= 1.10 x pass");
}

/// Seconds of a pull by a new Podman through a mirror that has nothing but the index of packages.
async fn podman(upstream: &Upstream, action: &str) -> f64 {
    let (mirror, _primed) = mirror(upstream, &upstream.registry, action).await;
    let podman = Podman::new("up.test", &format!("{}/up.test", mirror.host()));
    let reference = format!("up.test/{}:{}", upstream.repository, upstream.tag);
    let start = Instant::now();
    let pulled = podman.run(&["pull", "--quiet", &reference]).await;
    let took = start.elapsed().as_secs_f64();
    assert!(pulled.success, "{}", pulled.output);
    took
}

/// Seconds of a pull through a mirror that has nothing but the index of packages.
async fn first(upstream: &Upstream, host: &str, action: &str) -> f64 {
    let (mirror, _primed) = mirror(upstream, host, action).await;
    let start = Instant::now();
    pull(
        &mirror.client(),
        &format!("up.test/{}", upstream.repository),
        &upstream.tag,
    )
    .await;
    start.elapsed().as_secs_f64()
}

async fn mirror(upstream: &Upstream, host: &str, action: &str) -> (Mirror, Registry) {
    let wait = if action == "patch" {
        "\nwait = \"25s\"\non_timeout = \"deny\"\non_failure = \"deny\""
    } else {
        ""
    };
    let primed = Registry::start().await;
    let sources = format!("deb [trusted=yes] {} ./\n", upstream.apt);
    let status = "Package: primed\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1\n\n";
    let layer = Layer::new()
        .file("etc/os-release", "ID=debian\nVERSION_CODENAME=bookworm\n")
        .file("var/lib/dpkg/status", status)
        .file("etc/apt/sources.list", sources);
    primed.push("image", Some("v1"), &Image::builder().layer(layer.gzip()).build());
    let mirror = Mirror::setup()
        .upstream("up.test", &format!("http://{host}"))
        .upstream("primed.test", &primed.url())
        .set("cache", "tag_ttl = \"1h\"")
        .rule(&format!(
            "name = \"all\"\nmatch = [\"**\"]\naction = \"{action}\"{wait}"
        ))
        .start()
        .await;
    pull(&mirror.client(), "primed.test/image", "v1").await;
    (mirror, primed)
}

/// The answer for a tag that is decided, and for one that is passed.
async fn head(upstream: &Upstream) -> anyhow::Result<()> {
    let mut medians = Vec::new();
    for action in ["pass", "patch"] {
        let (mirror, _primed) = mirror(upstream, &upstream.registry, action).await;
        pull(
            &mirror.client(),
            &format!("up.test/{}", upstream.repository),
            &upstream.tag,
        )
        .await;
        let path = format!("/v2/up.test/{}/manifests/{}", upstream.repository, upstream.tag);
        medians.push(asked(mirror.host(), &path).await?);
    }
    let path = format!("/v2/{}/manifests/{}", upstream.repository, upstream.tag);
    let direct = asked(&upstream.registry, &path).await?;
    let [passed, decided] = medians[..] else {
        anyhow::bail!("two rules")
    };
    line("HEAD of a tag: the registry itself", direct, "ms", None, "");
    line("HEAD of a tag: pass", passed, "ms", Some(("registry", direct)), "");
    line(
        "HEAD of a tag: decided",
        decided,
        "ms",
        Some(("pass", passed)),
        "<= 1 ms",
    );
    Ok(())
}

/// Milliseconds of a `HEAD` on a connection that stays: the median.
async fn asked(host: &str, path: &str) -> anyhow::Result<f64> {
    let mut stream = TcpStream::connect(host).await?;
    stream.set_nodelay(true)?;
    let request = format!("HEAD {path} HTTP/1.1\r\nHost: {host}\r\nAccept: {ACCEPT}\r\n\r\n");
    let (mut times, mut answer) = (Vec::with_capacity(ASKED), vec![0; 16 * 1024]);
    for _ in 0..ASKED {
        let start = Instant::now();
        stream.write_all(request.as_bytes()).await?;
        let mut length = 0;
        while !answer.get(..length).unwrap_or_default().ends_with(b"\r\n\r\n") {
            let rest = answer.get_mut(length..).filter(|rest| !rest.is_empty());
            let read = stream.read(rest.context("a short answer")?).await?;
            anyhow::ensure!(read > 0, "{host} leaves");
            length += read;
        }
        anyhow::ensure!(answer.starts_with(b"HTTP/1.1 200"), "HEAD {path} at {host}");
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    Ok(median(times))
}

/// What stands before a server and lets only so many bytes per second come from it.
struct Throttle {
    address: SocketAddr,
    _tasks: JoinSet<()>,
}

impl Throttle {
    async fn start(host: &str, rate: f64) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let (address, host) = (listener.local_addr()?, host.to_owned());
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let (mut connections, free) = (JoinSet::new(), Arc::new(Mutex::new(Instant::now())));
            while let Ok((client, _)) = listener.accept().await {
                let (host, free) = (host.clone(), Arc::clone(&free));
                connections.spawn(async move {
                    let _ = forward(client, &host, rate, &free).await;
                });
            }
        });
        Ok(Self { address, _tasks: tasks })
    }
}

/// Both directions of a connection; `free` is when the line is next.
async fn forward(client: TcpStream, host: &str, rate: f64, free: &Mutex<Instant>) -> std::io::Result<()> {
    let server = TcpStream::connect(host).await?;
    let ((mut from, mut to), (mut asks, mut answers)) = (server.into_split(), client.into_split());
    let back = async {
        let mut buffer = vec![0; 16 * 1024];
        loop {
            let read = from.read(&mut buffer).await?;
            if read == 0 {
                return answers.shutdown().await;
            }
            let taken = Duration::from_secs_f64(f64::from(u32::try_from(read).unwrap_or(u32::MAX)) / rate);
            let until = {
                let mut free = free.lock().await;
                *free = (*free).max(Instant::now()) + taken;
                *free
            };
            // Timers count in milliseconds: what is less is waited for later.
            if until > Instant::now() + LATER {
                sleep_until(until).await;
            }
            answers.write_all(buffer.get(..read).unwrap_or_default()).await?;
        }
    };
    tokio::try_join!(tokio::io::copy(&mut asks, &mut to), back).map(|_| ())
}
