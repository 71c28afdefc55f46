//! Namespaces from a shell, and what the running log makes of them.

use super::application::{Log, put};
use super::effects::Effects;

#[test]
fn a_namespace_is_set_shown_and_explained_and_counts_without_a_restart() {
    let (effects, log) = (Effects::start(1, 0), Log::new("wal-commands"));
    let mut app = log.app("one");
    app.start_again();
    let said = app.said(&["namespaces", "show", "shop"], "");
    assert_eq!(said.code, Some(1));
    assert!(
        said.errors.contains("there is no namespace shop") && said.errors.contains("namespaces set shop"),
        "{said:?}"
    );

    let wrong = "delay = \"-1\"";
    let said = app.said(&["namespaces", "set", "shop", "--file", "-"], wrong);
    assert_eq!(said.code, Some(64), "{said:?}");
    let wrong = "[retry]\nmax-attempts = 0\n[[targets]]\nname = \"Book\"\nkind = \"http\"\naddress = \"ftp://x\"\n";
    let said = app.said(&["namespaces", "set", "shop", "--file", "-"], wrong);
    assert_eq!(said.code, Some(64));
    assert!(
        said.errors.contains("retry.max-attempts: is 0") && said.errors.contains("no http:// or https://"),
        "{said:?}"
    );
    assert_eq!(app.said(&["namespaces", "list"], "").out, "", "nothing is set that is wrong");

    let shop = format!("[[targets]]\nname = \"book\"\nkind = \"http\"\naddress = \"{}\"\n", effects.url());
    for version in 1..=2 {
        let said = app.said(&["namespaces", "set", "shop", "--file", "-"], &shop);
        assert_eq!((said.code, said.out), (Some(0), format!("shop is set, version {version}\n")), "{}", said.errors);
    }
    assert_eq!(app.said(&["namespaces", "list"], "").out, "shop  version 2: book (http)\n");
    let shown = app.said(&["namespaces", "show", "shop"], "").out;
    assert!(shown.contains("drift-limit = \"1h\"") && shown.contains(&effects.url()), "{shown}");
    assert_eq!(
        app.said(&["namespaces", "set", "other", "--file", "-"], &shown).code,
        Some(0),
        "as it is shown it is set"
    );
    let explained = app.said(&["namespaces", "explain", "shop", "--key", "cart:1"], "").out;
    assert!(explained.contains("after all of key cart:1 that came before"), "{explained}");

    log.write(&[put("k", "t")]);
    log.wait_results(1);
    assert_eq!(effects.book().effects["k"].len(), 1);
    assert!(app.terminate().success());
}
