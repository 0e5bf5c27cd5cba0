//! What every store must do, as checks that each implementation runs over itself with [`store_contract!`].
//!
//! The checks are ordinary functions and not tests, so that a store of another crate, or one that needs a server, can
//! run them too. Each wants a fresh, empty store.
//!
//! [`store_contract!`]: crate::store_contract
#![allow(clippy::expect_used, clippy::panic, reason = "the checks are tests, and a failed one panics")]

use std::sync::Arc;

use async_trait::async_trait;

use crate::store::Store;

pub mod commits;
pub mod dumps;
pub mod fixture;
pub mod listings;
pub mod lookups;
pub mod oddities;

/// Makes handles on one store, which is empty at first.
#[async_trait]
pub trait StoreFactory: Send + Sync {
    /// Opens the store. All earlier handles were dropped; what they committed is there.
    async fn open(&self) -> Arc<dyn Store>;

    /// Opens the store although an earlier handle is still open, as a second master would that a lock did not stop.
    async fn open_beside(&self) -> Arc<dyn Store> {
        self.open().await
    }
}

/// Makes one test of each check of the contract. The argument makes a [`StoreFactory`]
/// with an empty store; it is evaluated once for each test.
#[macro_export]
macro_rules! store_contract {
    ($factory:expr) => {
        $crate::store_contract!(@checks $factory, commits:
            an_empty_store_loads_as_nothing,
            what_was_committed_is_loaded,
            what_has_ended_is_not_loaded,
            a_commit_at_another_position_keeps_nothing,
            a_commit_behind_another_handle_is_fenced,
            an_empty_commit_counts,
            everything_survives_reopening,
            the_same_changes_twice_are_as_once,
            a_repeated_submission_keeps_its_progress,
            the_last_change_of_a_part_wins,
            records_are_replaced,
            totals_are_taken_over,
            a_spec_is_replaced,
            what_is_deleted_is_nowhere,
            a_change_of_an_unknown_task_keeps_nothing,
            two_tasks_with_one_key_keep_nothing);
        $crate::store_contract!(@checks $factory, lookups:
            a_task_is_found_with_its_run_and_result,
            keys_are_found_per_user,
            attempts_come_in_order,
            results_are_found,
            files_are_those_of_the_last_run_that_has_any,
            a_list_of_files_goes_on_in_the_run_in_which_a_page_has_ended,
            files_of_a_run_are_replaced,
            files_of_each_run_are_counted,
            output_files_are_forgotten,
            files_of_an_upload_are_seen_when_it_has_ended,
            files_of_runs_are_forgotten_together,
            inputs_come_and_go_with_their_files,
            tasks_with_files_are_found_by_their_end,
            failures_are_found_by_index,
            ended_elements_are_counted);
        $crate::store_contract!(@checks $factory, listings:
            tasks_are_listed_newest_first,
            pages_neither_skip_nor_repeat,
            limits_are_kept_within_bounds,
            each_filter_filters,
            tasks_are_counted_by_state,
            the_audit_log_is_listed_both_ways,
            filters_hold_together,
            a_worker_is_found_by_any_run,
            plain_tasks_come_with_run_and_result,
            files_of_a_user_come_in_pages);
        $crate::store_contract!(@checks $factory, dumps:
            an_empty_store_dumps_nothing,
            everything_is_dumped_in_order,
            a_dump_makes_the_same_store,
            pages_of_any_limit_come_to_the_same,
            a_large_array_comes_in_pages,
            what_is_left_is_taken_over);
        $crate::store_contract!(@checks $factory, oddities:
            arrays_round_trip,
            spaced_arrays_and_retries_round_trip,
            every_verdict_round_trips,
            odd_text_round_trips,
            odd_labels_are_found,
            odd_wishes_round_trip,
            file_paths_are_bytes,
            long_paths_are_listed_page_by_page_and_found_by_their_digests,
            large_numbers_round_trip);
    };
    (@checks $factory:expr, $module:ident: $($check:ident),+) => {
        $(
            #[tokio::test]
            async fn $check() {
                $crate::store::contract::$module::$check(&$factory).await;
            }
        )+
    };
}
