# what: ruby: gem build and install of a local gem, threads, fork
# needs: ruby gem
export GEM_HOME=$PWD/gems
mkdir lib
echo 'module Pilot; def self.fly; "flying"; end; end' > lib/pilot.rb
cat > pilot.gemspec <<'END'
Gem::Specification.new do |spec|
  spec.name, spec.version, spec.summary = "pilot", "1.0.0", "flies"
  spec.authors, spec.files = ["Pilot"], ["lib/pilot.rb"]
end
END
gem build -q pilot.gemspec > /dev/null 2>&1
gem install --quiet --local --no-document pilot-1.0.0.gem > /dev/null
mv lib away
[ "$(ruby -e 'require "pilot"; puts Pilot.fly')" = flying ]
ruby -e 'raise unless (1..4).map { |n| Thread.new { n * 7 } }.sum(&:value) == 70; Process.wait(fork { exit 3 }); raise unless $?.exitstatus == 3'
