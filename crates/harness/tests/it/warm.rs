//! A call in a sandbox that runs asks for nothing; one that is made gets what holds at that time.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::Mutex;

use api::environments::SandboxSettings;
use api::environments::SessionEnvironment;
use async_trait::async_trait;
use harness::Images;
use harness::Surroundings;
use sandbox::Backend;
use sandbox::Base;
use sandbox::ImageRoot;
use sandbox::LayerName;
use sandbox::Root;

use crate::yard::Yard;

/// One image, whose variable says how often images were looked for.
#[derive(Default)]
struct Counted(Mutex<usize>);

#[async_trait]
impl Images for Counted {
    fn find(&self, _: &str) -> Option<ImageRoot> {
        let mut count = self.0.lock().unwrap();
        *count += 1;
        let variables = BTreeMap::from([("COUNT".to_owned(), count.to_string())]);
        Some(ImageRoot { root: Root { base: Base::Empty, layers: Vec::new() }, variables })
    }

    async fn collect(
        &self,
        _: &dyn Backend,
        _: &BTreeSet<LayerName>,
    ) -> Result<Vec<LayerName>, sandbox::images::Error> {
        Ok(Vec::new())
    }
}

#[tokio::test]
async fn only_the_call_that_makes_a_sandbox_looks_for_what_it_is_to_be() {
    let images = Arc::new(Counted::default());
    let surroundings =
        Surroundings { images: Some(Arc::clone(&images) as Arc<dyn Images>), ..Surroundings::default() };
    let yard = Yard::new(surroundings).await;
    let sandbox = SandboxSettings { image: Some("tools".to_owned()), ..SandboxSettings::default() };
    let session = yard.session(&SessionEnvironment { sandbox, ..SessionEnvironment::default() }).await;
    yard.events(&session, "session.status_idle", 1).await;
    let count = || *images.0.lock().unwrap();
    let variables = || yard.works.seen.lock().unwrap().alive[&session.id].variables["COUNT"].clone();
    let (first, given) = (count(), variables());
    yard.say(&session, "both").await;
    yard.events(&session, "session.status_idle", 2).await;
    assert_eq!((count(), variables()), (first, given), "the sandbox runs");

    yard.works.seen.lock().unwrap().alive.clear();
    yard.say(&session, "go").await;
    yard.events(&session, "session.status_idle", 3).await;
    assert_eq!((count() > first, variables()), (true, count().to_string()), "what holds now");
}
