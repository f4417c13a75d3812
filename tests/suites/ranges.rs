//! `Range` on blobs (RFC 9110 section 14): clients resume with it, and some download in pieces.

use patchport_kit::{Image, Mirror, Registry};

use crate::scene::{image, setup};

async fn scene(seed: u64) -> (Registry, Mirror, Image) {
    let registry = Registry::start().await;
    let mirror = setup(&registry).start().await;
    let image = image(seed);
    registry.push("team/app", Some("v1"), &image);
    (registry, mirror, image)
}

#[tokio::test(flavor = "multi_thread")]
async fn one_range_gives_exactly_those_bytes() {
    let (_registry, mirror, image) = scene(10).await;
    let blob = &image.layers[1];
    let total = blob.bytes.len();
    let path = format!("/v2/team/app/blobs/{}", blob.digest());
    assert_eq!(mirror.client().weigh(&path).await.digest, blob.digest());
    let cases = [
        ("first", "bytes=0-0".to_owned(), 0, 0),
        ("middle", "bytes=100000-200000".to_owned(), 100_000, 200_000),
        ("to the end", "bytes=400000-".to_owned(), 400_000, total - 1),
        ("suffix", "bytes=-1000".to_owned(), total - 1000, total - 1),
        (
            "past the end",
            format!("bytes=400000-{}", total * 2),
            400_000,
            total - 1,
        ),
        (
            "suffix longer than the blob",
            format!("bytes=-{}", total * 2),
            0,
            total - 1,
        ),
        (
            "the last byte",
            format!("bytes={}-{}", total - 1, total - 1),
            total - 1,
            total - 1,
        ),
    ];
    for (name, range, first, last) in cases {
        let answer = mirror.client().send("GET", &path, &[("range", &range)]).await;
        assert_eq!(answer.status, 206, "{name}");
        assert_eq!(
            answer.header("content-range"),
            Some(format!("bytes {first}-{last}/{total}").as_str()),
            "{name}"
        );
        assert_eq!(
            answer.header("content-length"),
            Some((last - first + 1).to_string().as_str()),
            "{name}"
        );
        assert!(answer.body == blob.bytes[first..=last], "{name}: the bytes");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_outside_the_blob_is_416_with_the_size() {
    let (_registry, mirror, image) = scene(11).await;
    let blob = &image.layers[0];
    let path = format!("/v2/team/app/blobs/{}", blob.digest());
    let total = blob.bytes.len();
    for state in ["cold", "warm"] {
        for range in [
            format!("bytes={total}-"),
            format!("bytes={}-{}", total + 5, total + 9),
            "bytes=-0".to_owned(),
        ] {
            let answer = mirror.client().send("GET", &path, &[("range", &range)]).await;
            assert_eq!(answer.status, 416, "{state} {range}");
            assert_eq!(
                answer.header("content-range"),
                Some(format!("bytes */{total}").as_str()),
                "{state} {range}"
            );
        }
        assert_eq!(mirror.client().weigh(&path).await.digest, blob.digest());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn several_ranges_and_other_units_are_ignored_or_refused_never_half_understood() {
    let (_registry, mirror, image) = scene(12).await;
    let blob = &image.layers[0];
    let path = format!("/v2/team/app/blobs/{}", blob.digest());
    for range in [
        "bytes=0-1,5-6",
        "lines=0-1",
        "bytes=5-2",
        "bytes=a-b",
        "bytes=",
        "bytes",
        "bytes=1-99999999999999999999999",
    ] {
        let answer = mirror.client().send("GET", &path, &[("range", range)]).await;
        match answer.status {
            200 => assert_eq!(answer.digest, blob.digest(), "{range}"),
            206 => assert!(
                answer.body == blob.bytes[1..],
                "{range} may only mean: from the second byte"
            ),
            status => assert_eq!(status, 416, "{range}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_of_a_blob_that_is_not_here_yet_is_served_and_fetches_it_once() {
    let (registry, mirror, image) = scene(13).await;
    let blob = &image.layers[1];
    let path = format!("/v2/team/app/blobs/{}", blob.digest());
    let answer = mirror
        .client()
        .send("GET", &path, &[("range", "bytes=300000-300099")])
        .await;
    assert_eq!(answer.status, 206);
    assert!(answer.body == blob.bytes[300_000..300_100]);
    assert_eq!(mirror.client().weigh(&path).await.digest, blob.digest());
    assert_eq!(registry.blob_gets()[&blob.digest()], 1);
}
