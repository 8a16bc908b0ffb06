// Starts the built server for a suite: a data folder of its own, a free port, a script in the place of a model.

import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

import Anthropic from '@anthropic-ai/sdk';

const here = dirname(fileURLToPath(import.meta.url));
const binary = process.env.JOURNEYMAN_BIN ?? join(here, '../../target/debug/journeyman');
const key = 'sk-jm-typescript-sdk';

/** A running server and a client for it. */
export async function start() {
  const folder = mkdtempSync(join(tmpdir(), 'journeyman-typescript-'));
  const env = {
    PATH: process.env.PATH,
    JOURNEYMAN_API_KEY: key,
    JOURNEYMAN_SCRIPT: join(here, 'script.toml'),
    JOURNEYMAN_LOG: 'warn',
  };
  const server = spawn(binary, ['serve', '--listen', '127.0.0.1:0', '--data', folder], {
    cwd: folder,
    env,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const exited = new Promise((resolve) => server.once('exit', resolve));
  const ready = new Promise((resolve) => createInterface({ input: server.stdout }).once('line', resolve));
  const line = await Promise.race([ready, exited]);
  const baseURL = /^listening on (http:\S+)$/.exec(line)?.[1];
  if (!baseURL) throw new Error(`the server did not start: ${line}`);
  return {
    baseURL,
    client: new Anthropic({ baseURL, apiKey: key, maxRetries: 0 }),
    async stop() {
      server.kill('SIGTERM');
      await exited;
      endSpawner(folder);
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** The spawner outlives its server on purpose; a test leaves nothing behind. */
function endSpawner(folder) {
  const { stdout } = spawnSync('sh', ['-c', 'grep -slaE "spawner" /proc/[0-9]*/cmdline'], { encoding: 'utf8' });
  for (const path of stdout.split('\n').filter(Boolean)) {
    const { stdout: line } = spawnSync('cat', [path], { encoding: 'utf8' });
    const words = line.split('\0');
    if (words.includes('spawner') && words.includes(folder)) process.kill(Number(path.split('/')[2]), 'SIGTERM');
  }
}
