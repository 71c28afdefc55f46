//! All parts start, answer a real request, and keep their data over a kill.

use testbed::Testbed;

#[test]
fn all_parts_start_and_answer() {
    let start = std::time::Instant::now();
    let bed = Testbed::builder()
        .kafka()
        .registry()
        .redis()
        .postgres()
        .connect()
        .prometheus(&[])
        .start()
        .expect("all parts");
    eprintln!("{:?} {bed:#?}", start.elapsed());
    let start = std::time::Instant::now();
    drop(bed);
    eprintln!("{:?}", start.elapsed());
}
