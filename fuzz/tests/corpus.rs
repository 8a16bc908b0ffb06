//! Every check over its corpus, once: what was found before stays fixed.

use std::fs;
use std::path::Path;

#[test]
fn every_corpus_passes_its_check() {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for (name, check) in fuzz::TARGETS {
        let mut count = 0;
        for file in fs::read_dir(corpora.join(name)).expect("there is a corpus for every check") {
            let path = file.unwrap().path();
            eprintln!("{}", path.display());
            check(&fs::read(path).unwrap());
            count += 1;
        }
        assert!(count > 0, "the corpus of {name} is empty");
    }
}
