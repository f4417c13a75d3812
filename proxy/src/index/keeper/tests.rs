//! Who may see an index, and what may take its place: with a layout whose roots are as the test says.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use patchport_config::Config;

use super::*;
use crate::sources::Sources;

/// A root that some key has signed.
#[derive(Clone, Default)]
struct Root {
    date: u64,
    signer: &'static str,
    expires: Option<SystemTime>,
}

/// What a repository serves now.
#[derive(Default)]
struct Served {
    root: Mutex<Root>,
    loads: AtomicUsize,
    unsigned: bool,
}

#[derive(Clone)]
struct Key(Arc<Served>);

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Key {}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.0).hash(state);
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("repository.example")
    }
}

impl Key {
    fn serve(&self, date: u64, signer: &'static str) {
        *self.0.root.lock().unwrap() = Root {
            date,
            signer,
            expires: None,
        };
    }

    fn loads(&self) -> usize {
        self.0.loads.load(Ordering::SeqCst)
    }
}

struct Fake;

#[async_trait]
impl Layout for Fake {
    type Key = Key;
    type Root = Root;
    type Index = u64;

    async fn load(key: &Key, _: &Fetcher, _: &Files, _: Option<&Loaded<Self>>) -> Result<Loaded<Self>, IndexError> {
        key.0.loads.fetch_add(1, Ordering::SeqCst);
        let root = key.0.root.lock().unwrap().clone();
        let signed = Digest::of(format!("{} {} {:?}", root.date, root.signer, root.expires).as_bytes());
        Ok(Loaded {
            signed,
            index: Arc::new(root.date),
            epoch: Digest::of(&root.date.to_le_bytes()),
            root: Arc::new(root),
            url: "http://repository.example/".into(),
            allows_unsigned: key.0.unsigned,
            allows_expired: false,
            keys: Keyring::default(),
        })
    }

    fn verify(root: &Root, keys: &Keyring, _: SystemTime) -> Result<(), Trouble> {
        let is_good = keys.files().iter().any(|(name, _)| name == root.signer);
        is_good
            .then_some(())
            .ok_or_else(|| Trouble::Untrusted(format!("signed by {}", root.signer)))
    }

    fn expires(root: &Root) -> Option<SystemTime> {
        root.expires
    }

    fn is_older(new: &Root, old: &Root) -> bool {
        new.date < old.date
    }
}

fn keeper() -> Arc<Keeper<Fake>> {
    let fetcher = Fetcher::new(Config::default().repositories, Sources::default()).unwrap();
    let files = Files::new("/nonexistent".into());
    Keeper::new(Arc::new(fetcher), Arc::new(files), Tasks::new())
}

fn keys(names: &[&str]) -> Keyring {
    Keyring::new(names.iter().map(|name| ((*name).to_owned(), vec![])).collect())
}

#[tokio::test]
async fn an_index_is_loaded_once_and_each_image_verifies_it_with_its_own_keys() {
    let (keeper, key) = (keeper(), Key(Arc::default()));
    key.serve(1, "alice");
    let refused = keeper.index(&key, &keys(&["mallory"])).await.err().unwrap();
    assert!(refused.to_string().contains("repository.example"), "{refused}");
    assert!(
        keeper.known(&key, &keys(&["alice"])).is_none(),
        "what nobody vouched for is not held"
    );
    for names in [&["alice"][..], &["alice", "bob"]] {
        assert_eq!(*keeper.index(&key, &keys(names)).await.unwrap().index, 1);
    }
    assert_eq!(key.loads(), 2, "one that was refused, one for all");
    assert!(keeper.index(&key, &keys(&["mallory"])).await.is_err());
    assert!(keeper.known(&key, &keys(&["mallory"])).is_none());
    assert!(keeper.known(&key, &keys(&["alice"])).is_some());
    assert_eq!(key.loads(), 2);
}

#[tokio::test]
async fn only_what_somebody_trusted_vouches_for_takes_the_place_of_an_index() {
    let (keeper, key, alice) = (keeper(), Key(Arc::default()), keys(&["alice"]));
    key.serve(2, "alice");
    keeper.index(&key, &alice).await.unwrap();
    assert!(!keeper.refresh_one(&key).await.unwrap(), "it is the same");
    for (name, date, signer) in [("forged", 3, "mallory"), ("older", 1, "alice")] {
        key.serve(date, signer);
        let refused = keeper.refresh_one(&key).await.unwrap_err().trouble;
        let expected = matches!(
            (&refused, name),
            (Trouble::Untrusted(_), "forged") | (Trouble::Older, "older")
        );
        assert!(expected, "{name}: {refused}");
        assert_eq!(
            *keeper.known(&key, &alice).unwrap().index,
            2,
            "{name}: the one before stays"
        );
    }
    key.serve(4, "alice");
    assert_eq!(keeper.refresh().await.len(), 1);
    assert_eq!(*keeper.known(&key, &alice).unwrap().index, 4);
}

#[tokio::test]
async fn an_index_that_expires_while_it_is_held_is_no_longer_believed() {
    let (keeper, key, alice) = (keeper(), Key(Arc::default()), keys(&["alice"]));
    let soon = SystemTime::now() + Duration::from_millis(300);
    *key.0.root.lock().unwrap() = Root {
        date: 1,
        signer: "alice",
        expires: Some(soon),
    };
    keeper.index(&key, &alice).await.unwrap();
    while SystemTime::now() <= soon {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(keeper.known(&key, &alice).is_none());
    let refused = keeper.index(&key, &alice).await.err().unwrap().trouble;
    assert!(matches!(refused, Trouble::Expired(_)), "{refused}");
}

#[tokio::test]
async fn the_operator_may_believe_what_nobody_has_signed() {
    let served = Served {
        unsigned: true,
        ..Served::default()
    };
    let (keeper, key) = (keeper(), Key(Arc::new(served)));
    key.serve(1, "nobody");
    assert_eq!(*keeper.index(&key, &Keyring::default()).await.unwrap().index, 1);
}
