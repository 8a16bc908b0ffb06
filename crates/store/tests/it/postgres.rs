//! What only PostgreSQL has: connections that break, nodes that start together, transactions that are in the way.

use std::sync::Arc;

use store::Error;
use store::Signal;
use store::Store;
use store::Target;
use tokio_postgres::Client;
use tokio_postgres::NoTls;

use crate::fixture::Engine;
use crate::fixture::World;
use crate::fixture::by_client;
use crate::fixture::claim;
use crate::fixture::read_log;

/// A connection beside the store's, and the task that drives it.
async fn connect(world: &World) -> (Client, tokio::task::JoinSet<()>) {
    let Target::Postgres(address) = &world.target else { panic!("{:?}", world.target) };
    let (client, connection) = tokio_postgres::connect(address, NoTls).await.unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(async move { connection.await.unwrap() });
    (client, tasks)
}

/// A way to the database that can go dead without a word, like a cable that is pulled.
struct Cable {
    address: std::net::SocketAddr,
    is_cut: tokio::sync::watch::Sender<bool>,
    _tasks: tokio::task::JoinSet<()>,
}

impl Cable {
    async fn to(socket: std::path::PathBuf) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let is_cut = tokio::sync::watch::Sender::new(false);
        let cut = is_cut.subscribe();
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((mut near, _)) = listener.accept().await {
                let (mut cut, socket) = (cut.clone(), socket.clone());
                connections.spawn(async move {
                    let mut far = tokio::net::UnixStream::connect(socket).await.unwrap();
                    let is_cut = async { cut.wait_for(|is_cut| *is_cut).await.map(drop) };
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => return,
                        _ = is_cut => {}
                    }
                    // Both ends stay open, and nothing passes.
                    std::future::pending::<()>().await;
                });
            }
        });
        Self { address, is_cut, _tasks: tasks }
    }
}

async fn end_all_connections(client: &Client) {
    let ended = client
        .query(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
             WHERE datname = current_database() AND application_name = 'journeyman'",
            &[],
        )
        .await
        .unwrap();
    assert!(ended.len() >= 3, "a writer, a listener and the pool: {}", ended.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn connections_that_break_are_replaced_and_nothing_is_missed() {
    let Some(world) = World::new(Engine::Postgres).await else { return };
    let (client, _tasks) = connect(&world).await;
    let session = world.session().await;
    let other_node = world.another_node().await;
    let mut follower = world.store.follow(session.key);
    let append = || by_client(&session, vec![world.message(&session.thread)]);
    world.store.append(append()).await.unwrap();
    other_node.append(append()).await.unwrap();
    end_all_connections(&client).await;

    assert_eq!(other_node.append(append()).await.unwrap().last, 3);
    assert_eq!(read_log(&world.store, &session).await.len(), 3);
    assert!(world.store.claim(session.key, &claim("node")).await.unwrap().is_some());
    assert_eq!(world.store.append(append()).await.unwrap().last, 4);
    let mut seen = 0;
    while seen < 4 {
        match follower.next().await {
            Signal::Entries(entries) => {
                assert!(entries[0].seq <= seen + 1, "{} after {seen}", entries[0].seq);
                seen = seen.max(entries.last().unwrap().seq);
            }
            Signal::Lagged => seen = i64::try_from(read_log(&world.store, &session).await.len()).unwrap(),
            signal @ (Signal::Preview(_) | Signal::Deleted | Signal::Closed) => panic!("{signal:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_another_node_appends_arrives_in_order() {
    let Some(world) = World::new(Engine::Postgres).await else { return };
    let session = world.session().await;
    let other_node = world.another_node().await;
    let mut follower = world.store.follow(session.key);
    let append = || by_client(&session, vec![world.message(&session.thread)]);
    other_node.append(append()).await.unwrap();
    assert!(matches!(follower.next().await, Signal::Lagged), "what came before it followed is not known");
    for _ in 0..20 {
        other_node.append(append()).await.unwrap();
        // This node's own append never overtakes what the other one has written.
        world.store.append(append()).await.unwrap();
    }
    let mut seen = i64::from(!read_log(&world.store, &session).await.is_empty());
    while seen < 41 {
        let Signal::Entries(entries) = follower.next().await else { panic!("only entries are expected") };
        for entry in entries.iter().skip_while(|entry| entry.seq == 1) {
            assert_eq!(entry.seq, seen + 1);
            seen = entry.seq;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nodes_that_start_together_migrate_once() {
    let Some(world) = World::new(Engine::Postgres).await else { return };
    let target = Target::Postgres(testkit::postgres::database().unwrap());
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let (target, clock) = (target.clone(), world.clock.clone());
        tasks.spawn(async move { Store::open(&target, clock).await.unwrap().list_keys().await.unwrap() });
    }
    assert!(tasks.join_all().await.into_iter().all(|keys| keys.is_empty()));
}

/// The other transaction holds the second session and asks for the first one, which the renewal holds by then.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_deadlock_is_tried_again() {
    let Some(world) = World::new(Engine::Postgres).await else { return };
    let world = Arc::new(world);
    let (client, _tasks) = connect(&world).await;
    let (first, epoch) = world.held_session("node").await;
    let (second, _) = world.held_session("node").await;
    client.batch_execute("SET deadlock_timeout = '60s'; BEGIN").await.unwrap();
    let take = |key: i64| format!("SELECT 1 FROM session WHERE key = {key} FOR UPDATE");
    client.batch_execute(&take(second.key)).await.unwrap();
    let leases = [(first.key, epoch), (second.key, epoch)];
    let store = world.store.clone();
    let mut renewal = tokio::task::JoinSet::new();
    renewal.spawn(async move { store.renew(&leases, 60_000).await });
    let (watcher, _watching) = connect(&world).await;
    let waiting = "SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid)
                   WHERE NOT granted AND datname = current_database()";
    while watcher.query_one(waiting, &[]).await.unwrap().get::<_, i64>(0) == 0 {
        tokio::task::yield_now().await;
    }
    client.batch_execute(&take(first.key)).await.unwrap();
    client.batch_execute("COMMIT").await.unwrap();
    assert_eq!(renewal.join_next().await.unwrap().unwrap().unwrap(), Vec::<i64>::new());
}

#[tokio::test]
async fn an_address_that_cannot_be_used_says_why_and_keeps_its_password() {
    let open = async |address: &str| {
        let target = Target::Postgres(address.to_owned());
        Store::open(&target, api::time::Clock::system()).await.unwrap_err()
    };
    let error = open("postgres://user:geheim@localhost/name?sslmode=require").await;
    assert!(matches!(error, Error::Unsupported { .. }), "{error}");
    assert!(error.to_string().contains("sslmode=require"), "{error}");
    for address in ["postgres://user:geheim@localhost/name?nonsense=geheim", "user=u password='geheim"] {
        let error = open(address).await;
        assert!(error.to_string().contains("not valid"), "{error}");
        assert!(!format!("{error:?} {error}").contains("geheim"), "{error:?}");
    }
    let error = open("host=/nowhere/at/all user=u password=geheim dbname=d").await;
    assert!(matches!(error, Error::Database { .. }), "{error}");
    assert!(!format!("{error:?} {error}").contains("geheim"), "{error:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_database_that_falls_silent_fails_what_waits_and_is_reached_again() {
    let Some(world) = World::new(Engine::Postgres).await else { return };
    let session = world.session().await;
    let Target::Postgres(direct) = &world.target else { panic!("{:?}", world.target) };
    let config: tokio_postgres::Config = direct.parse().unwrap();
    let [tokio_postgres::config::Host::Unix(folder)] = config.get_hosts() else { panic!("{config:?}") };
    let cable = Cable::to(folder.join(".s.PGSQL.5432")).await;
    let database = config.get_dbname().unwrap();
    let user = config.get_user().unwrap();
    let port = cable.address.port();
    let address = format!(
        "host=127.0.0.1 port={port} user={user} dbname={database} tcp_user_timeout=1 connect_timeout=1"
    );
    let store = Store::open(&Target::Postgres(address), api::time::Clock::system()).await.unwrap();
    let append = || by_client(&session, vec![world.message(&session.thread)]);
    store.append(append()).await.unwrap();

    cable.is_cut.send_replace(true);
    let (appended, read) = tokio::join!(store.append(append()), store.session(&world.workspace, &session.id));
    let Err(Error::Database { is_unknown: true, .. }) = appended else { panic!("{appended:?}") };
    assert!(matches!(read, Err(Error::Database { .. })), "{read:?}");

    cable.is_cut.send_replace(false);
    assert_eq!(store.append(append()).await.unwrap().last, 2, "the one in between never arrived");
}
