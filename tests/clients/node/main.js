// The official client for Node. Arguments: URL, database, the reader's password.
const { createClient } = require('@clickhouse/client')

async function main(url, database, password) {
  const client = createClient({ url, username: 'reader', password, database, compression: { response: true, request: true } })
  if (!(await client.ping()).success) throw new Error('no ping')
  const rows = async (query) => (await client.query({ query, format: 'JSONEachRow' })).json()
  const [late] = await rows('SELECT count() AS rows, sum(offset) AS offsets FROM late')
  const sum = (await rows('SELECT number FROM numbers(200000)')).reduce((total, row) => total + Number(row.number), 0)
  const tables = (await rows("SHOW TABLES LIKE 'late'")).length
  const columns = (await rows('DESCRIBE TABLE late')).length
  const error = await client.query({ query: 'SELECT * FROM nosuch' }).catch((failure) => failure.code)
  await client.close()
  console.log(`${late.rows} ${late.offsets}|${sum}|${tables}|${columns}|${error}`)
}

main(...process.argv.slice(2)).catch((failure) => { console.log(failure); process.exit(1) })
