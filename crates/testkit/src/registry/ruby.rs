//! What gem installs.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;

/// Writes a gem and the index of a repository that has nothing else.
const BUILD: &str = r##"
require 'rubygems/package'
require 'zlib'
name, version, program = ARGV
Dir.mkdir('bin')
File.write("bin/#{name}", "#!/usr/bin/env ruby\n#{program}")
spec = Gem::Specification.new do |it|
  it.name, it.version, it.summary, it.authors = name, version, 'a gem of a test', ['nobody']
  it.files, it.executables = ["bin/#{name}"], [name]
end
Gem::Package.build(spec)
File.binwrite('spec', Zlib::Deflate.deflate(Marshal.dump(spec)))
File.binwrite('specs', Gem::Util.gzip(Marshal.dump([[name, spec.version, 'ruby']])))
File.binwrite('none', Gem::Util.gzip(Marshal.dump([])))
"##;

/// A repository with one version of one gem, whose program of the same name is `program`. Needs the program `ruby`.
pub fn ruby_repository(name: &str, version: &str, program: &str) -> Result<BTreeMap<String, Vec<u8>>> {
    let folder = tempfile::tempdir().context("make a folder")?;
    let mut command = Command::new("ruby");
    command.args(["-e", BUILD, name, version, program]).current_dir(folder.path());
    let output = command.output().context("start ruby")?;
    ensure!(output.status.success(), "ruby: {}", String::from_utf8_lossy(&output.stderr));
    let gem = format!("{name}-{version}");
    let files = [
        (format!("/gems/{gem}.gem"), format!("{gem}.gem")),
        (format!("/quick/Marshal.4.8/{gem}.gemspec.rz"), "spec".to_owned()),
        ("/specs.4.8.gz".to_owned(), "specs".to_owned()),
        ("/latest_specs.4.8.gz".to_owned(), "specs".to_owned()),
        ("/prerelease_specs.4.8.gz".to_owned(), "none".to_owned()),
    ];
    let read = |(path, file): (String, String)| {
        Ok((path, fs::read(folder.path().join(&file)).with_context(|| format!("read {file}"))?))
    };
    files.into_iter().map(read).collect()
}
