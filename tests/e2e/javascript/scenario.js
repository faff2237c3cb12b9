// What a user of E2B's JavaScript SDK does in a day, from the environment alone. With
// HTTPS_PROXY set it is given to the SDK as an option, for the SDK does not read it.
import assert from 'node:assert/strict'
import { CommandExitError, FileNotFoundError, Sandbox, SandboxNotFoundError } from 'e2b'
import { ProxyAgent, fetch } from 'undici'

const proxy = process.env.HTTPS_PROXY
const options = proxy ? { proxy } : {}

// Waits for something, and fails when it takes too long.
async function until(condition, what) {
  const deadline = Date.now() + 15_000
  for (;;) {
    const found = await condition()
    if (found) return found
    assert.ok(Date.now() < deadline, `waited too long for ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

async function commands(sandbox) {
  const result = await sandbox.commands.run('echo out; echo err >&2; echo $GIVEN')
  assert.equal(result.stdout, 'out\nyes\n')
  assert.equal(result.stderr, 'err\n')

  await assert.rejects(sandbox.commands.run('exit 3'), (error) => {
    assert.ok(error instanceof CommandExitError)
    assert.equal(error.exitCode, 3)
    return true
  })

  let seen = ''
  const background = await sandbox.commands.run('echo one; read line; echo got $line', {
    background: true,
    stdin: true,
    onStdout: (text) => {
      seen += text
    },
  })
  await until(() => seen === 'one\n', 'the first line')
  await sandbox.commands.sendStdin(background.pid, 'it\n')
  await background.wait()
  assert.equal(seen, 'one\ngot it\n')

  const sleeping = await sandbox.commands.run('sleep 600', { background: true })
  const listed = await sandbox.commands.list()
  assert.ok(listed.some((it) => it.pid === sleeping.pid))
  assert.equal(await sleeping.kill(), true)
  await assert.rejects(sleeping.wait(), CommandExitError)

  const cat = await sandbox.commands.run('cat', { background: true, stdin: true })
  await sandbox.commands.sendStdin(cat.pid, 'ünï\n')
  await sandbox.commands.closeStdin(cat.pid)
  assert.equal((await cat.wait()).stdout, 'ünï\n')
}

async function files(sandbox) {
  const bytes = new Uint8Array(300_000).map((_, index) => index * 7)
  await sandbox.files.write('js/all.bin', bytes.buffer)
  const read = await sandbox.files.read('js/all.bin', { format: 'bytes' })
  assert.deepEqual(new Uint8Array(read), bytes)

  await sandbox.files.write([
    { path: 'js/a.txt', data: 'a' },
    { path: 'js/b.txt', data: 'ü' },
  ])
  assert.equal(await sandbox.files.read('js/b.txt'), 'ü')
  const names = (await sandbox.files.list('js')).map((entry) => entry.name)
  assert.deepEqual(names.sort(), ['a.txt', 'all.bin', 'b.txt'])
  assert.equal(await sandbox.files.exists('js/none'), false)
  await assert.rejects(sandbox.files.read('js/none'), FileNotFoundError)

  const events = []
  const watch = await sandbox.files.watchDir('js', (event) => {
    events.push(`${event.type} ${event.name}`)
  })
  await sandbox.files.write('js/new.txt', 'x')
  await until(() => events.includes('write new.txt'), 'an event of the watched folder')
  assert.ok(events.includes('create new.txt'))
  await watch.stop()
}

async function terminal(sandbox) {
  let shown = ''
  const decoder = new TextDecoder()
  const pty = await sandbox.pty.create({
    cols: 80,
    rows: 24,
    onData: (data) => {
      shown += decoder.decode(data, { stream: true })
    },
  })
  await sandbox.pty.sendInput(pty.pid, new TextEncoder().encode('stty size\n'))
  await until(() => shown.includes('24 80'), 'the size of the terminal')
  await sandbox.pty.resize(pty.pid, { cols: 132, rows: 43 })
  await sandbox.pty.sendInput(pty.pid, new TextEncoder().encode('stty size\n'))
  await until(() => shown.includes('43 132'), 'the new size')
  assert.equal(await sandbox.pty.kill(pty.pid), true)
  await pty.wait().catch((error) => assert.ok(error instanceof CommandExitError))
}

async function port(sandbox) {
  await sandbox.files.write('www/index.html', 'hello from inside')
  await sandbox.commands.run('python3 -m http.server 8000 --directory www', {
    background: true,
    timeoutMs: 0,
  })
  const host = sandbox.getHost(8000)
  const visit = proxy
    ? () => fetch(`https://${host}/`, { dispatcher })
    : () =>
        fetch(process.env.E2B_SANDBOX_URL, {
          headers: { 'e2b-sandbox-id': sandbox.sandboxId, 'e2b-sandbox-port': '8000' },
        })
  const dispatcher = proxy ? new ProxyAgent(proxy) : undefined
  const page = await until(async () => {
    const response = await visit()
    const text = await response.text()
    return response.status === 200 && text
  }, `a page at ${host}`)
  assert.equal(page, 'hello from inside')
  await dispatcher?.close()
}

async function life(sandbox, marker) {
  const handle = await sandbox.commands.run('read line; echo $line', {
    background: true,
    stdin: true,
    timeoutMs: 0,
  })
  handle.wait().catch(() => {}) // The pause cuts its stream.
  assert.equal(await sandbox.pause(), true)
  assert.equal(await sandbox.isRunning(), false)
  await sandbox.connect()
  assert.equal(await sandbox.isRunning(), true)
  const again = await sandbox.commands.connect(handle.pid)
  await sandbox.commands.sendStdin(handle.pid, 'still there\n')
  assert.equal((await again.wait()).stdout, 'still there\n')

  const snapshot = await sandbox.createSnapshot()
  const copy = await Sandbox.create(snapshot.snapshotId, { ...options, metadata: { marker } })
  assert.equal(await copy.files.read('js/b.txt'), 'ü')

  const ids = []
  const paginator = Sandbox.list({ ...options, query: { metadata: { marker } }, limit: 1 })
  while (paginator.hasNext) {
    ids.push(...(await paginator.nextItems()).map((info) => info.sandboxId))
  }
  assert.deepEqual(ids, [copy.sandboxId, sandbox.sandboxId])
  await copy.kill()
  assert.equal(await Sandbox.deleteSnapshot(snapshot.snapshotId, options), true)

  const metrics = await until(async () => {
    const found = await sandbox.getMetrics()
    return found.length && found
  }, 'metrics')
  assert.ok(metrics.at(-1).memUsed > 0)
}

const marker = `js-${process.pid}-${Date.now()}`
const sandbox = await Sandbox.create({
  ...options,
  timeoutMs: 120_000,
  metadata: { marker },
  envs: { GIVEN: 'yes' },
})
try {
  await commands(sandbox)
  await files(sandbox)
  await terminal(sandbox)
  await port(sandbox)
  await life(sandbox, marker)
} finally {
  assert.equal(await sandbox.kill(), true)
}
assert.equal(await Sandbox.kill(sandbox.sandboxId, options), false)
await assert.rejects(Sandbox.connect(sandbox.sandboxId, options), SandboxNotFoundError)
console.log('done')
