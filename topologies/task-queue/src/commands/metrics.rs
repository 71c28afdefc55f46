//! Prometheus' text format, as far as this project's own pages need it: which series a metric has, and what their numbers are.

/// The numbers of a metric's series that have these labels, each with its labels as they stand in the text.
pub(super) fn series<'a>(text: &'a str, name: &str, wanted: &[(&str, &str)]) -> Vec<(&'a str, f64)> {
    let of_metric = text.lines().filter_map(|line| {
        let rest = line.strip_prefix(name).filter(|rest| rest.starts_with(['{', ' ']))?;
        let (labels, number) = rest.rsplit_once(' ')?;
        Some((labels, number.parse().ok()?))
    });
    let fits = |labels: &str| wanted.iter().all(|(name, value)| label(labels, name) == Some(*value));
    of_metric.filter(|(labels, _)| fits(labels)).collect()
}

/// The value of a label. Queues and numbers, which are all that is asked for, need no escapes.
pub(super) fn label<'a>(labels: &'a str, name: &str) -> Option<&'a str> {
    let mut parts = labels.trim().trim_start_matches('{').trim_end_matches('}').split("\",");
    parts.find_map(|part| part.trim().strip_prefix(name)?.strip_prefix("=\"").map(|value| value.trim_end_matches('"')))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "\
# HELP headrace_worker_running Records that workers work on now.
# TYPE headrace_worker_running gauge
headrace_worker_running{workers=\"mail\"} 3
headrace_worker_running{workers=\"mail-2\"} 4
headrace_worker_deliveries_total{delivery=\"1\",workers=\"mail\"} 20
headrace_worker_deliveries_total{delivery=\"5+\",workers=\"mail\"} 1
headrace_worker_running_more 9
headrace_uptime_seconds 7
";

    #[test]
    fn a_series_is_found_by_name_and_labels_and_by_nothing_like_them() {
        let running = |queue| series(PAGE, "headrace_worker_running", &[("workers", queue)]);
        assert_eq!(running("mail").iter().map(|(_, number)| *number).collect::<Vec<_>>(), [3.0]);
        assert_eq!(running("mai"), []);
        let deliveries = series(PAGE, "headrace_worker_deliveries_total", &[("workers", "mail")]);
        let deliveries: Vec<_> =
            deliveries.iter().map(|(labels, number)| (label(labels, "delivery"), *number)).collect();
        assert_eq!(deliveries, [(Some("1"), 20.0), (Some("5+"), 1.0)]);
        assert_eq!(series(PAGE, "headrace_uptime_seconds", &[]), [("", 7.0)]);
    }
}
