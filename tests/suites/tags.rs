//! The list of a repository's tags: upstream's, page by page, without what policy denies.

use patchport_kit::client::Response;
use patchport_kit::process::run;
use patchport_kit::{Fault, Image, Mirror, Registry};

use crate::promise::promise;
use crate::scene::{assert_clear_error, setup};

/// The tags in an answer; panics unless it is a list of those of this repository.
#[track_caller]
fn listed(answer: &Response, name: &str) -> Vec<String> {
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (200, Some("application/json")),
        "{}",
        answer.text()
    );
    let list = answer.json();
    assert_eq!(list["name"], name, "{list}");
    let tags = list["tags"].as_array().unwrap().iter();
    tags.map(|tag| tag.as_str().unwrap().to_owned()).collect()
}

/// The path of the next page.
fn next(answer: &Response) -> Option<String> {
    let (path, relation) = answer.header("link")?.strip_prefix('<')?.split_once('>')?;
    assert_eq!(relation, "; rel=\"next\"");
    Some(path.to_owned())
}

async fn scene() -> (Registry, Mirror) {
    let registry = Registry::start().await;
    for tag in ["1", "2", "2-secret", "3", "4"] {
        registry.push("team/app", Some(tag), &Image::tiny(tag));
    }
    registry.push("closed/app", Some("v1"), &Image::tiny("closed"));
    let denied = "name = \"no-secrets\"\nmatch = [\"**:*-secret\", \"up.test/closed/**\"]\naction = \"deny\"";
    let mirror = setup(&registry)
        .rule(denied)
        .rule(patchport_kit::mirror::PASS_ALL)
        .start()
        .await;
    (registry, mirror)
}

#[tokio::test(flavor = "multi_thread")]
async fn tags_are_listed_page_by_page_without_those_that_are_denied() {
    promise("Tags are listed as upstream lists them, without those that a rule denies.");
    let (registry, mirror) = scene().await;
    let client = mirror.client();
    let whole = client.get("/v2/team/app/tags/list").await;
    assert_eq!(
        (listed(&whole, "team/app"), next(&whole)),
        (["1", "2", "3", "4"].map(str::to_owned).to_vec(), None)
    );
    let head = client.head("/v2/team/app/tags/list").await;
    assert_eq!(head.header("content-length"), whole.header("content-length"));

    let (mut path, mut pages) = ("/v2/up.test/team/app/tags/list?n=2".to_owned(), Vec::new());
    loop {
        let page = client.get(&path).await;
        pages.push(listed(&page, "up.test/team/app"));
        match next(&page) {
            Some(next) => path = next,
            None => break,
        }
    }
    // What is denied counts among the two that are asked for, or a page would tell of it.
    assert_eq!(pages, [vec!["1", "2"], vec!["3"], vec!["4"]]);
    let by_host = client.get("/v2/team/app/tags/list?ns=up.test&n=1").await;
    let next = next(&by_host).unwrap();
    assert_eq!(listed(&client.get(&next).await, "team/app"), ["2"], "{next}");
    registry.fault("tags/list", Fault::Body(r#"{"tags":["3","1","2-secret","2"]}"#.into()));
    let unordered = client.get("/v2/team/app/tags/list?n=2&last=1").await;
    assert_eq!(
        listed(&unordered, "team/app"),
        ["2"],
        "of a registry that knows no order and no `last`"
    );
    registry.heal();
    let none = client.get("/v2/team/app/tags/list?n=0").await;
    assert_eq!(listed(&none, "team/app"), Vec::<String>::new());

    let said = run(std::process::Command::new("skopeo")
        .args(["list-tags", "--tls-verify=false"])
        .arg(format!("docker://{}/team/app", mirror.host())));
    assert!(said.contains("\"4\"") && !said.contains("secret"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_cannot_be_given_is_a_clear_error() {
    let (registry, mirror) = scene().await;
    let client = mirror.client();
    for (path, status, code) in [
        ("/v2/team/other/tags/list", 404, "NAME_UNKNOWN"),
        ("/v2/closed/app/tags/list", 403, "DENIED"),
        ("/v2/team/app/tags/list?n=many", 400, "PAGINATION_NUMBER_INVALID"),
        (
            "/v2/team/app/tags/list?n=1&last=no/tag",
            400,
            "PAGINATION_NUMBER_INVALID",
        ),
        ("/v2/team/app/tags", 404, "UNSUPPORTED"),
    ] {
        let answer = client.get(path).await;
        assert_clear_error(path, &answer, &[status]);
        assert_eq!(answer.error_code(), code, "{path}");
    }
    registry.fault("/v2/", Fault::status(503));
    let answer = client.get("/v2/team/app/tags/list").await;
    assert_clear_error("upstream is down", &answer, &[502]);
}
