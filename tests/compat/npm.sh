# what: npm pack, install of a local tarball, scripts, npx of what was installed
# needs: node npm
export npm_config_cache=$PWD/cache npm_config_offline=true npm_config_audit=false npm_config_fund=false
export npm_config_update_notifier=false npm_config_loglevel=error
mkdir pilot app
cd pilot
echo '{"name": "pilot", "version": "1.0.0", "bin": {"pilot": "main.js"}, "files": ["main.js"]}' > package.json
printf '#!/usr/bin/env node\nconsole.log("flying");\n' > main.js
npm pack > /dev/null
cd ../app
echo '{"name": "app", "version": "1.0.0", "scripts": {"start": "pilot", "postinstall": "echo > scripted"}}' > package.json
npm install ../pilot/pilot-1.0.0.tgz > /dev/null
npm install > /dev/null
[ "$(npm run --silent start)" = flying ]
[ "$(npx --no-install pilot)" = flying ]
[ -e scripted ]
[ -e package-lock.json ]
