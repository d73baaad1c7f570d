// What NapCat does with one API request that came over a WebSocket, and with its answer: json5 in, JSON out.
// Reads lines "size rounds" and answers each with the nanoseconds of CPU time one call took.
import { createRequire } from 'node:module'
import { createInterface } from 'node:readline'

const JSON5 = createRequire(process.argv[2] + '/')('json5')

function request(size) {
  const head = '{"action":"send_group_msg","params":{"group_id":342561735,"message":"'
  const tail = '"},"echo":"12345"}'
  return Buffer.from(head + 'x'.repeat(size - head.length - tail.length) + tail)
}

function call(data) {
  const { action, params, echo } = JSON5.parse(data.toString())
  if (action !== 'send_group_msg' || params.group_id !== 342561735) throw new Error('misread')
  const answer = { status: 'ok', retcode: 0, data: { message_id: 1 }, message: '', wording: '', echo, stream: 'normal-action' }
  return Buffer.from(JSON.stringify(answer))
}

for await (const line of createInterface({ input: process.stdin })) {
  const [size, rounds] = line.split(' ').map(Number)
  const data = request(size)
  let bytes = 0
  const before = process.cpuUsage()
  for (let round = 0; round < rounds; round++) bytes += call(data).length
  const { user, system } = process.cpuUsage(before)
  console.log(JSON.stringify({ ns: ((user + system) * 1000) / rounds, bytes: bytes / rounds }))
}
