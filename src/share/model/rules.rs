//! The rules that are checked, each by its name; and those that were broken on the way to a state.

/// A rule of the protocol, as the member has to keep it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub(super) enum Rule {
    R1Beats,
    R3OneAtATime,
    R4Opens,
    R4Counts,
    R5NeverAgain,
    R5IsTold,
    R6Deltas,
    R7Acquired,
    R7Gaps,
    R8Room,
    R9InTime,
    R9NotBeyond,
    R11WellFormed,
    R12Acquirer,
    R12IsTold,
    R13Renewals,
    R13HalfTime,
    R14Verdicts,
    R14Settled,
    R14Once,
    R15Leader,
    R16Drain,
    R16Close,
    Wakes,
}

/// All of them, with their names.
pub(super) const RULES: [(Rule, &str); 24] = [
    (Rule::R1Beats, "r1_a_member_joins_with_all_fields_and_goes_on_with_its_epoch"),
    (Rule::R3OneAtATime, "r3_one_request_is_on_its_way_in_a_session"),
    (Rule::R4Opens, "r4_a_session_opens_with_a_fetch_of_epoch_0_that_tells_nothing"),
    (Rule::R4Counts, "r4_epochs_count_up_by_one"),
    (Rule::R5NeverAgain, "r5_what_was_told_or_lost_is_never_told_again"),
    (Rule::R5IsTold, "r5_whoever_works_is_told_when_the_session_is_over"),
    (Rule::R6Deltas, "r6_only_what_has_changed_is_named_and_all_of_that"),
    (Rule::R7Acquired, "r7_what_was_acquired_is_delivered_once_and_nothing_else"),
    (Rule::R7Gaps, "r7_a_gap_is_told_as_a_gap_with_the_next_request"),
    (Rule::R8Room, "r8_no_more_is_asked_for_than_there_is_room"),
    (Rule::R9InTime, "r9_nothing_is_told_after_the_end_of_its_lock"),
    (Rule::R9NotBeyond, "r9_nobody_works_beyond_the_end_of_a_lock"),
    (Rule::R11WellFormed, "r11_what_is_told_is_what_was_said_in_well_formed_batches"),
    (Rule::R12Acquirer, "r12_only_the_broker_that_has_handed_a_record_over_is_told"),
    (Rule::R12IsTold, "r12_whoever_works_is_told_when_the_partition_has_moved"),
    (Rule::R13Renewals, "r13_renewals_say_so_and_fetch_nothing"),
    (Rule::R13HalfTime, "r13_a_lock_runs_out_only_while_its_broker_can_not_be_told"),
    (Rule::R14Verdicts, "r14_what_is_refused_is_lost_and_what_is_taken_is_settled"),
    (Rule::R14Settled, "r14_what_is_settled_is_done_at_the_broker"),
    (Rule::R14Once, "r14_a_record_is_worked_on_once_at_a_time_in_a_member"),
    (Rule::R15Leader, "r15_a_leader_that_is_named_is_asked"),
    (Rule::R16Drain, "r16_after_a_drain_nothing_is_fetched"),
    (Rule::R16Close, "r16_a_member_that_has_closed_holds_nothing"),
    (Rule::Wakes, "a_member_is_never_woken_for_what_can_not_be_done_yet"),
];

impl Rule {
    pub(super) fn name(self) -> &'static str {
        RULES[self as usize].1
    }
}

/// Rules that were broken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(super) struct Broken(u32);

impl Broken {
    pub(super) fn none(self) -> bool {
        self.0 == 0
    }

    pub(super) fn has(self, rule: Rule) -> bool {
        self.0 & 1 << rule as u8 != 0
    }

    pub(super) fn add(&mut self, rule: Rule) {
        self.0 |= 1 << rule as u8;
    }

    /// The rule is broken unless this holds.
    pub(super) fn unless(&mut self, rule: Rule, holds: bool) {
        if !holds {
            self.add(rule);
        }
    }
}
