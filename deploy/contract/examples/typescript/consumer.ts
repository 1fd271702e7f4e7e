// Prints each status event once, until it is ended: node consumer.js. Needs amqplib.
import { connect } from 'amqplib';

async function main(): Promise<void> {
  const connection = await connect(process.env.RABBITMQ_URL!);
  connection.on('close', () => process.exit(1)); // start again, by the container's restart policy
  const channel = await connection.createChannel();
  await channel.prefetch(50);
  await channel.assertQueue('shop.events', { durable: true, arguments: { 'x-queue-type': 'quorum' } });
  await channel.bindQueue('shop.events', 'omni.results', '#');
  const seen = new Set<string>(); // in a database: an event may be repeated for 48 hours
  await channel.consume('shop.events', (message) => {
    if (message === null) process.exit(1); // the queue was deleted
    const event = JSON.parse(message.content.toString());
    if (!seen.has(event.id)) console.log(event.id, event.type, event.subject ?? '');
    seen.add(event.id);
    channel.ack(message); // after the work is done: else the broker delivers it again
  });
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
