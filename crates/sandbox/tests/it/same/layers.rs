//! What is installed once and stood on by many.

use sandbox::Base;
use sandbox::Error;
use sandbox::LayerName;
use sandbox::Root;
use sandbox::Spec;

use super::Subject;
use crate::ground::chain;

fn on_layer(on: &Subject<'_>, layer: &LayerName) -> Spec {
    Spec { root: Root { base: Base::Host, layers: vec![layer.clone()] }, ..on.spec() }
}

/// What one session wrote becomes what others begin with.
pub(super) async fn what_is_installed_once_is_there_for_all(on: &Subject<'_>) {
    let layer: LayerName = "a1".repeat(32).parse().unwrap();
    assert_eq!(on.backend.layers().await.unwrap(), Vec::new());
    let maker = Spec { makes_layer: true, ..on.spec() };
    let hands = on.provision(&maker).await;
    hands
        .bash("echo installed > /workspace/tool; mkdir -p /opt/made; rm -rf /var/cache; chmod 750 /opt/made")
        .await;
    let refused = on.backend.commit(&maker.session, &layer).await;
    assert!(matches!(refused, Err(Error::Layer { .. })), "it runs: {refused:?}");
    on.backend.destroy(&maker.session, true).await.unwrap();
    on.backend.commit(&maker.session, &layer).await.unwrap_or_else(|error| panic!("{}", chain(&error)));
    assert_eq!(on.backend.layers().await.unwrap(), vec![layer.clone()]);
    assert!(!on.backend.kept().await.unwrap().contains(&maker.session), "its files are the layer now");
    let other = "b2".repeat(32).parse().unwrap();
    assert!(matches!(on.backend.commit(&maker.session, &other).await, Err(Error::Layer { .. })));

    let (first, second) = (on_layer(on, &layer), on_layer(on, &layer));
    let hands = on.provision(&first).await;
    let look = "cat /workspace/tool; stat -c %a /opt/made; test -e /var/cache || echo gone";
    assert_eq!(hands.bash(look).await, "installed\n750\ngone");
    hands.bash("echo mine >> /workspace/tool").await;
    assert_eq!(on.provision(&second).await.bash("cat /workspace/tool").await, "installed");
    on.backend.destroy(&second.session, false).await.unwrap();
    // It stays while somebody stands on it, and what was written over it comes back.
    assert!(on.backend.remove_layer(&layer).await.is_err());
    on.backend.destroy(&first.session, true).await.unwrap();
    assert_eq!(on.provision(&first).await.bash("cat /workspace/tool").await, "installed\nmine");
    on.backend.destroy(&first.session, false).await.unwrap();

    on.backend.remove_layer(&layer).await.unwrap_or_else(|error| panic!("{}", chain(&error)));
    assert_eq!(on.backend.layers().await.unwrap(), Vec::new());
    on.backend.remove_layer(&layer).await.unwrap();
    let orphan = on_layer(on, &layer);
    assert!(on.backend.provision(&orphan).await.is_err(), "nothing stands on a layer that is not here");
    on.backend.destroy(&orphan.session, false).await.unwrap();
}
