# what: cargo build, test and run, offline
# needs: cargo rustc
export CARGO_HOME=$PWD/home CARGO_NET_OFFLINE=true
cargo new -q --vcs none hello
cd hello
cat > src/main.rs <<'END'
fn answer() -> u32 {
    let threads: Vec<_> = (0..4).map(|n| std::thread::spawn(move || n * 7)).collect();
    threads.into_iter().map(|thread| thread.join().unwrap()).sum()
}
fn main() {
    println!("{}", answer());
}
#[test]
fn it_is_right() {
    assert_eq!(answer(), 42);
}
END
[ "$(cargo run -q)" = 42 ]
cargo test -q > told
grep -q '1 passed' told
