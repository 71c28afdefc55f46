//! Each world is gone through to its end; each mutant is caught by the rule that it breaks.

use std::time::Instant;

use stateright::{Checker, HasDiscoveries, Model as _};

use super::actions::Action;
use super::bounds::Bounds;
use super::exploration::{AGAIN, ARCHIVED, CLOSED, DONE, END, Exploration, RENEWED, REPEATED, SIGHTS, TURNED_DOWN};
use super::mutants::Mutant;
use super::rules::Rule;
use super::worlds::{
    BEATS, CUT_OFF, CUTS, DAMAGED, ENDS, HANGS, MOVES, ONE, REFUSALS, RIVALS, SAYS, SPREAD, STALE, THREE,
};

/// States of each world of which it is asked whether those that look the same are the same.
const TWINS: usize = 10_000;
/// After so many states a mutant has got away.
const ESCAPED: usize = 300_000;

/// Goes through a whole world, which has at least so many states, and in which these sights are seen.
fn keeps_the_rules(bounds: Bounds, least: usize, sights: &[&'static str]) {
    let began = Instant::now();
    let checker = Exploration::new(bounds, Mutant::None).checker().finish_when(HasDiscoveries::AnyFailures);
    let checker = checker.spawn_bfs().join();
    let states = checker.unique_state_count();
    println!("{states} states, {} steps deep, {:?}", checker.max_depth(), began.elapsed());
    let found = checker.discoveries();
    let failure = found.into_iter().find(|(name, _)| !SIGHTS.contains(name));
    if let Some((broken, path)) = failure {
        let end = path.last_state().clone();
        let peace = if broken == END { checker.model().rest(&end) } else { Vec::new() };
        panic!("{broken}: {:#?}, and then in peace {peace:#?}", path.into_actions());
    }
    let missing: Vec<&&str> = sights.iter().filter(|sight| checker.discovery(sight).is_none()).collect();
    assert!(missing.is_empty(), "nowhere in {states} states: {missing:?}");
    assert!(states >= least, "{states} states: something does not happen any more");
}

/// What the images leave out makes no difference.
fn has_no_false_twins(bounds: Bounds) {
    let (twins, wrong) = Exploration::new(bounds, Mutant::None).twins(TWINS);
    assert!(wrong.is_empty(), "went on differently from states that look the same: {wrong:?}");
    assert!(twins > TWINS / 2, "{twins} states were reached twice");
}

macro_rules! worlds {
    ($($name:ident: $world:ident, $least:expr, [$($sight:ident),*];)*) => {
        $(mod $name {
            use super::*;

            #[test]
            fn r1_to_r16_every_state_keeps_the_rules() {
                keeps_the_rules($world, $least, &[$($sight),*]);
            }

            #[test]
            fn states_that_look_the_same_go_on_the_same() {
                has_no_false_twins($world);
            }
        })*
    };
}

worlds! {
    all_is_slow: ONE, 6_700, [DONE, RENEWED, AGAIN, ARCHIVED];
    three_offsets: THREE, 61_000, [DONE, RENEWED, AGAIN, ARCHIVED, REPEATED];
    everything_is_said: SAYS, 23_000, [DONE, RENEWED, AGAIN, ARCHIVED];
    a_record_is_damaged: DAMAGED, 6_100, [DONE, RENEWED, AGAIN, ARCHIVED, REPEATED];
    connections_and_sessions_end: CUTS, 77_000, [DONE, RENEWED, AGAIN, ARCHIVED];
    answers_lack_something: REFUSALS, 36_000, [DONE, RENEWED, AGAIN, ARCHIVED, REPEATED];
    leaders_move: MOVES, 430_000, [DONE, RENEWED, AGAIN, ARCHIVED, TURNED_DOWN];
    metadata_is_stale: STALE, 280_000, [DONE, RENEWED, AGAIN, ARCHIVED, TURNED_DOWN];
    a_leader_hangs: HANGS, 210_000, [DONE, RENEWED, AGAIN, ARCHIVED, TURNED_DOWN];
    a_leader_moves_and_a_connection_ends: CUT_OFF, 530_000, [DONE, RENEWED, AGAIN, ARCHIVED, TURNED_DOWN];
    two_members: RIVALS, 170_000, [DONE, RENEWED, AGAIN, ARCHIVED];
    a_member_drains_and_closes: ENDS, 28_000, [DONE, RENEWED, AGAIN, ARCHIVED, CLOSED];
    a_member_is_forgotten: BEATS, 105_000, [DONE, RENEWED, ARCHIVED];
    two_brokers_lead: SPREAD, 320_000, [DONE, RENEWED, ARCHIVED];
}

/// The mutant breaks the rule somewhere in this world.
fn caught(mutant: Mutant, rule: &'static str, bounds: Bounds) {
    let until = HasDiscoveries::AnyOf([rule].into());
    let checker = Exploration::new(bounds, mutant).checker().target_state_count(ESCAPED).finish_when(until);
    let checker = checker.spawn_bfs().join();
    let others = || checker.discoveries().into_keys().collect::<Vec<_>>();
    let way = checker.discovery(rule).map(stateright::Path::into_actions);
    let way: Vec<Action> = way.unwrap_or_else(|| panic!("{mutant:?} was not caught by {rule}, but by {:?}", others()));
    println!("{mutant:?}: {way:?}");
}

macro_rules! caught {
    ($($test:ident: $mutant:ident, $rule:ident, $world:expr;)*) => {
        $(#[test]
        fn $test() {
            caught(Mutant::$mutant, Rule::$rule.name(), $world);
        })*
    };
}

caught! {
    r1_a_member_that_joins_each_time: JoinsEachTime, R1Beats, BEATS;
    r1_a_member_that_joins_without_its_topics: JoinsBare, R1Beats, BEATS;
    r3_a_second_request: SecondRequest, R3OneAtATime, ONE;
    r4_an_epoch_that_stands: EpochStands, R4Counts, ONE;
    r4_words_in_the_request_that_opens: OpensWithWords, R4Opens, ONE;
    r5_words_of_the_session_before: TellsAgain, R5NeverAgain, CUTS;
    r5_an_end_that_is_not_heard: EndIsSilent, R5IsTold, CUTS;
    r5_a_lease_that_does_not_tell_of_it: LeaseIsSilent, R5IsTold, CUTS;
    r6_a_fetch_that_names_all: NamesAll, R6Deltas, ONE;
    r6_a_fetch_that_forgets_nothing: ForgetsNothing, R6Deltas, STALE;
    r7_neighbours_of_what_was_acquired: TakesAll, R7Acquired, SAYS;
    r7_gaps_that_are_not_told: DropsGaps, R7Gaps, ONE;
    r7_gaps_that_are_accepted: AcceptsGaps, R7Gaps, ONE;
    r8_one_record_too_many: AsksTooMuch, R8Room, ONE;
    r9_words_after_the_end_of_a_lock: LongLocks, R9InTime, ONE;
    r9_work_beyond_the_end_of_a_lock: LongLocks, R9NotBeyond, ONE;
    r11_batches_in_disorder: Unordered, R11WellFormed, ONE;
    r12_words_for_another_broker: Forwards, R12Acquirer, SPREAD;
    r12_a_move_that_is_not_heard: MoveIsSilent, R12IsTold, STALE;
    r12_a_lease_that_does_not_tell_of_it: LeaseIsSilent, R12IsTold, STALE;
    r13_renewals_without_their_flag: RenewsUnflagged, R13Renewals, ONE;
    r13_locks_that_are_not_renewed: RenewsNothing, R13HalfTime, SAYS;
    r14_a_refusal_that_is_not_heard: RefusalIsSilent, R14Verdicts, ONE;
    r14_what_an_answer_does_not_speak_of: MissingIsDone, R14Verdicts, REFUSALS;
    r14_words_that_are_not_sent: SwallowsAccepts, R14Settled, ENDS;
    r14_a_record_that_is_worked_on_twice: LeaseIsSilent, R14Once, STALE;
    r15_a_leader_that_is_named_for_nothing: NoHints, R15Leader, STALE;
    r16_a_member_that_fetches_while_it_drains: FetchesOn, R16Drain, ENDS;
    r16_a_member_that_keeps_what_it_holds: KeepsAll, R16Close, ENDS;
    a_member_that_is_woken_for_nothing: Spins, Wakes, ONE;
}

#[test]
fn a_member_that_never_learns_who_leads() {
    caught(Mutant::NoLeaders, END, ONE);
}
