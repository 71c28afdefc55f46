//! The last line of a long run, and the exit code that goes with it.

use std::process::ExitCode;

use serde_json::{Value, json};

use crate::check::Findings;
use crate::check::judge::Judgement;

/// What a run has shown.
#[derive(Debug, Clone)]
pub struct Verdict {
    /// What was counted: `kills=100`, `schedules=200`.
    pub runs: (&'static str, u32),
    /// What the checker found in our arm.
    pub judgement: Judgement,
    /// What it found in the control arm.
    pub control: Findings,
    /// What shows that the run had something to withstand, and how much of it there was.
    pub withstood: (&'static str, u64),
}

impl Verdict {
    /// Whether our arm is right, the control arm is not, and there was something to withstand.
    pub fn holds(&self) -> bool {
        self.judgement.findings.is_clean() && !self.control.is_clean() && self.withstood.1 > 0
    }

    /// The last line.
    pub fn line(&self) -> String {
        let Findings { lost, duplicated, aborted_visible, torn, unequal, .. } = self.judgement.findings;
        let control = if self.control.is_clean() { "passed" } else { "failed" };
        let (what, count) = self.runs;
        format!(
            "chaos: {what}={count} lost={lost} duplicated={duplicated} aborted_visible={aborted_visible} torn={torn} \
             stores_equal={} control_arm={control}",
            unequal == 0
        )
    }

    /// Prints what is wrong, if anything is, and the last line.
    pub fn print(&self) -> ExitCode {
        let Judgement { findings, events, records, aborted, stores } = &self.judgement;
        println!("compared: {events} events, {records} records, {stores} stores; {aborted} records were aborted");
        findings.examples.iter().for_each(|example| println!("WRONG: {example}"));
        if findings.reordered + findings.misfolded > 0 {
            println!("WRONG: reordered={} misfolded={}", findings.reordered, findings.misfolded);
        }
        let (what, count) = self.withstood;
        if count == 0 {
            println!("WRONG: {what}: none, so this has proven nothing");
        }
        println!("{}", self.line());
        if self.holds() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    /// For the report.
    pub fn json(&self) -> Value {
        let Judgement { findings, events, records, aborted, stores } = &self.judgement;
        json!({
            "events": events,
            "records": records,
            "aborted_records": aborted,
            "stores": stores,
            "findings": findings_json(findings),
            "control_arm": findings_json(&self.control),
        })
    }
}

fn findings_json(findings: &Findings) -> Value {
    let Findings { lost, duplicated, reordered, misfolded, aborted_visible, torn, unequal, examples } = findings;
    json!({
        "lost": lost,
        "duplicated": duplicated,
        "reordered": reordered,
        "misfolded": misfolded,
        "aborted_visible": aborted_visible,
        "torn": torn,
        "unequal_stores": unequal,
        "examples": examples,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict() -> Verdict {
        let control = Findings { duplicated: 3, ..Findings::default() };
        Verdict { runs: ("kills", 100), judgement: Judgement::default(), control, withstood: ("aborted records", 7) }
    }

    #[test]
    fn a_clean_run_with_a_control_arm_that_fails_holds() {
        assert!(verdict().holds());
        let line = "chaos: kills=100 lost=0 duplicated=0 aborted_visible=0 torn=0 stores_equal=true control_arm=failed";
        assert_eq!(verdict().line(), line);
    }

    #[test]
    fn nothing_holds_with_a_finding_of_any_kind_or_a_control_arm_that_passes_or_nothing_to_withstand() {
        let changes: [fn(&mut Verdict); 9] = [
            |verdict| verdict.judgement.findings.lost = 1,
            |verdict| verdict.judgement.findings.duplicated = 1,
            |verdict| verdict.judgement.findings.reordered = 1,
            |verdict| verdict.judgement.findings.misfolded = 1,
            |verdict| verdict.judgement.findings.aborted_visible = 1,
            |verdict| verdict.judgement.findings.torn = 1,
            |verdict| verdict.judgement.findings.unequal = 1,
            |verdict| verdict.control = Findings::default(),
            |verdict| verdict.withstood.1 = 0,
        ];
        for change in changes {
            let mut changed = verdict();
            change(&mut changed);
            assert!(!changed.holds(), "{changed:?}");
        }
    }
}
