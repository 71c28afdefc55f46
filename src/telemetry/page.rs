//! The status page: what runs, in which state, and where to look further; on one page without scripts.
//!
//! It is the first thing that a person opens, so it must work with nothing but this process. It links no other host.

use std::fmt::Write;
use std::time::SystemTime;

use super::events::Telemetry;
use super::health::Reason;
use super::http::Site;

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1a202c}\
h1{margin-bottom:0}h2{font-size:1.1rem;margin-top:2rem}small,.quiet{color:#5a6472}table{border-collapse:collapse;width:100%}\
td,th{text-align:left;padding:.3rem .8rem .3rem 0;border-bottom:1px solid #e2e8f0;vertical-align:top}\
.state{font-size:1.3rem}.good{color:#22703a}.bad{color:#b02a1e;font-weight:600}pre{background:#f6f8fa;padding:1rem;overflow-x:auto;font-size:.85rem}\
a{color:#1d5fb8}@media(prefers-color-scheme:dark){body{background:#14181d;color:#e4e8ee}pre{background:#1f252c}\
td,th{border-color:#333c46}a{color:#7fb2f0}.state{font-size:1.3rem}.good{color:#6fcf8a}.bad{color:#ff8a7a}small,.quiet{color:#9aa6b2}}";

/// The page as HTML.
pub(super) fn render(site: &Site, telemetry: &Telemetry) -> String {
    let now = SystemTime::now();
    let (not_live, not_ready) = (telemetry.health.not_live(), telemetry.health.not_ready());
    let state = match (not_live.is_empty(), not_ready.is_empty()) {
        (false, _) => "<span class=bad>stalled</span>",
        (true, false) => "<span class=bad>not ready</span>",
        (true, true) => "<span class=good>ready</span>",
    };
    let mut page = format!(
        "<!doctype html>\n<html lang=en><head><meta charset=utf-8><meta name=viewport content=\"width=device-width\">\
         <title>{name}</title><style>{STYLE}</style></head><body>\n<h1>{name}</h1>\n\
         <small>version {version} · application {application} · instance {instance}</small>\n<p class=state>{state}</p>\n",
        name = escape(&site.name),
        version = escape(&site.version),
        application = escape(&site.application_id),
        instance = escape(&site.instance_id),
    );
    reasons(&mut page, not_live.iter().chain(&not_ready), now);
    figures(&mut page, telemetry);
    tasks(&mut page, telemetry, now);
    dependencies(&mut page, telemetry, now);
    stores(&mut page, site);
    page.push_str(
        "<h2>Look further</h2>\n<p><a href=healthz>healthz</a> · <a href=readyz>readyz</a> · <a href=startupz>startupz</a> \
         · <a href=metrics>metrics</a> · topology as <a href=\"topology?format=json\">json</a>, \
         <a href=\"topology?format=text\">text</a>, <a href=\"topology?format=mermaid\">mermaid</a>, \
         <a href=\"topology?format=dot\">dot</a></p>\n",
    );
    // Writing to a String can't fail.
    let _ = writeln!(page, "<h2>Topology</h2>\n<pre>{}</pre>\n</body></html>", escape(site.topology.text.trim_end()));
    page
}

fn reasons<'a>(page: &mut String, reasons: impl Iterator<Item = &'a Reason>, now: SystemTime) {
    let mut reasons = reasons.peekable();
    if reasons.peek().is_none() {
        return;
    }
    page.push_str("<h2>In the way</h2>\n<table><tr><th>what<th>why<th>for</tr>\n");
    for reason in reasons {
        let (what, why) = (escape(&reason.what), escape(&reason.why));
        let _ = writeln!(page, "<tr><td>{what}<td class=bad>{why}<td>{}</tr>", age(reason.since, now));
    }
    page.push_str("</table>\n");
}

/// What has been done since the start: the first thing that says whether anything arrives at all.
fn figures(page: &mut String, telemetry: &Telemetry) {
    let total = |name| grouped(telemetry.metrics.total(name));
    let _ = writeln!(
        page,
        "<h2>Since the start</h2>\n<table><tr><th>records in<th>records out<th>dead letters<th>commits<th>aborts</tr>\n\
         <tr><td>{}<td>{}<td>{}<td>{}<td>{}</tr></table>",
        total("headrace_records_in_total"),
        total("headrace_records_out_total"),
        total("headrace_dead_letters_total"),
        total("headrace_commits_total"),
        total("headrace_aborts_total"),
    );
}

/// A count with a space after each three digits.
fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

fn tasks(page: &mut String, telemetry: &Telemetry, now: SystemTime) {
    let tasks = telemetry.health.tasks();
    let _ = writeln!(page, "<h2>Tasks</h2>");
    if tasks.is_empty() {
        page.push_str("<p class=quiet>none</p>\n");
        return;
    }
    page.push_str("<table><tr><th>task<th>state<th>for<th>restore</tr>\n");
    for view in tasks {
        let (state, since) = (view.state.name(), age(view.since, now));
        let restore = view.restore.map_or_else(String::new, |progress| progress.text());
        let _ = writeln!(page, "<tr><td>{}<td>{state}<td>{since}<td>{restore}</tr>", view.task);
    }
    page.push_str("</table>\n");
}

fn dependencies(page: &mut String, telemetry: &Telemetry, now: SystemTime) {
    page.push_str("<h2>Dependencies</h2>\n");
    let dependencies = telemetry.health.dependencies();
    if dependencies.is_empty() {
        page.push_str("<p class=quiet>none were asked yet</p>\n");
        return;
    }
    page.push_str("<table><tr><th>dependency<th>state<th>for</tr>\n");
    for view in dependencies {
        let (class, state) = match &view.away {
            Some(why) => ("bad", format!("away: {}", escape(why))),
            None => ("good", "up".to_owned()),
        };
        let (name, since) = (escape(&view.name), age(view.since, now));
        let _ = writeln!(page, "<tr><td>{name}<td class={class}>{state}<td>{since}</tr>");
    }
    page.push_str("</table>\n");
}

/// The stores, each with a link to its first entries.
fn stores(page: &mut String, site: &Site) {
    if site.stores.is_empty() {
        return;
    }
    page.push_str("<h2>Stores</h2>\n<p><a href=state>all of them</a>");
    for name in site.stores.iter().map(|name| escape(name)) {
        let _ = write!(page, " · <a href=\"state/{name}\">{name}</a>");
    }
    page.push_str("</p>\n");
}

/// Whole seconds from then to now, for people.
fn age(since: SystemTime, now: SystemTime) -> String {
    let seconds = now.duration_since(since).unwrap_or_default().as_secs();
    humantime::format_duration(std::time::Duration::from_secs(seconds)).to_string()
}

/// Text that can stand in HTML, in attributes too.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_grouped_by_thousands() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1\u{202f}000", "1\u{202f}234\u{202f}567"]);
    }

    #[test]
    fn markup_in_names_and_reasons_is_text() {
        assert_eq!(escape("<b a=\"1\">&'"), "&lt;b a=&quot;1&quot;&gt;&amp;&#39;");
    }
}
