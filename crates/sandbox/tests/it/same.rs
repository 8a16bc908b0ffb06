//! What holds for every back end: the promises of [`Backend`] and [`sandbox::Sandbox`], as bodies of tests that are given
//! one. Each leaves nothing behind.

mod bounds;
mod calls;
mod layers;
mod life;
mod network;
mod operations;

use std::path::Path;

use api::ids::Ids;
use api::ids::SessionId;
use sandbox::Backend;
use sandbox::Spec;

use crate::ground::Ground;
use crate::ground::Hands;
use crate::ground::chain;

/// A back end that is tested.
pub(crate) struct Subject<'a> {
    pub(crate) backend: &'a dyn Backend,
    pub(crate) ids: &'a Ids,
    pub(crate) data_dir: &'a Path,
    /// Sandboxes alive at once.
    pub(crate) alive_max: usize,
}

impl Subject<'_> {
    pub(crate) fn spec(&self) -> Spec {
        Spec::new(self.ids.make())
    }

    pub(crate) async fn provision(&self, spec: &Spec) -> Hands {
        let sandbox = self.backend.provision(spec).await.unwrap_or_else(|error| panic!("{}", chain(&error)));
        Hands::new(sandbox, self.ids)
    }

    async fn assert_empty(&self) {
        assert_eq!(self.backend.list().await.unwrap(), Vec::new());
        assert_eq!(self.backend.kept().await.unwrap(), Vec::new());
        assert_eq!(self.backend.layers().await.unwrap(), Vec::new());
    }

    pub(crate) async fn sandbox(&self) -> (SessionId, Hands) {
        let spec = self.spec();
        let hands = self.provision(&spec).await;
        (spec.session, hands)
    }
}

/// The life of sandboxes, and how many there may be. `successor` is another server with the same folder.
pub(crate) async fn lives(on: &Subject<'_>, successor: &Subject<'_>) {
    life::what_is_not_there_is_not_made(on).await;
    life::what_a_session_writes_outlives_its_sandbox(on).await;
    life::a_shell_at_rest_goes_on_in_the_next_life(on).await;
    life::another_server_adopts_what_runs(on, successor).await;
    life::a_frozen_sandbox_stands_still_and_thaws(on).await;
    life::asking_twice_at_once_makes_one_sandbox(on, successor).await;
    life::two_sessions_see_nothing_of_each_other(on).await;
    life::no_more_than_allowed_are_alive(on).await;
    on.assert_empty().await;
}

/// What is done in one sandbox, and with how much.
pub(crate) async fn work(on: &Subject<'_>) {
    calls::a_call_runs_once_per_id(on).await;
    calls::a_call_that_is_cancelled_ends_with_a_result(on).await;
    calls::file_tools_work_on_the_files_of_the_sandbox(on).await;
    calls::a_large_call_passes_and_an_oversized_one_is_refused(on).await;
    calls::many_first_calls_at_once_get_their_results(on).await;
    operations::a_program_runs_once_per_id_and_streams_its_output(on).await;
    operations::a_program_is_ended_when_its_time_is_over_or_nobody_wants_it(on).await;
    operations::files_are_written_read_and_listed(on).await;
    bounds::a_memory_hog_dies_and_its_session_lives(on).await;
    bounds::a_fork_bomb_stays_in_its_sandbox(on).await;
    bounds::shared_memory_is_smaller_than_memory(on).await;
    bounds::what_is_used_is_told(on).await;
    bounds::a_file_beyond_the_bound_is_refused(on).await;
    on.assert_empty().await;
}

/// What sandboxes stand on and what they reach.
pub(crate) async fn surroundings(on: &Subject<'_>) {
    layers::what_is_installed_once_is_there_for_all(on).await;
    network::a_session_reaches_what_it_may_and_no_more(on).await;
    on.assert_empty().await;
}

/// A back end of this crate's own, with room for a few sandboxes.
struct Own {
    ground: Ground,
    other: sandbox::Embedded,
}

impl Own {
    fn new() -> Self {
        let mut ground = Ground::new();
        ground.restarted(|config| config.alive_max = 4);
        let other = sandbox::Embedded::new(ground.config.clone());
        Self { ground, other }
    }

    fn on<'a>(&'a self, backend: &'a dyn Backend) -> Subject<'a> {
        let alive_max = self.ground.config.alive_max;
        Subject { backend, ids: &self.ground.ids, data_dir: self.ground.data_dir(), alive_max }
    }
}

#[tokio::test]
async fn embedded_sandboxes_live() {
    let own = Own::new();
    lives(&own.on(&own.ground.backend), &own.on(&own.other)).await;
}

#[tokio::test]
async fn embedded_sandboxes_work() {
    let own = Own::new();
    work(&own.on(&own.ground.backend)).await;
}

#[tokio::test]
async fn embedded_sandboxes_stand_on_layers_and_reach_what_they_may() {
    let own = Own::new();
    surroundings(&own.on(&own.ground.backend)).await;
}
