// Publishes requests: node producer.js FIRST COUNT [urgent]. Needs amqplib.
import { connect } from 'amqplib';

async function main(first: number, count: number, urgent: boolean): Promise<void> {
  const connection = await connect(process.env.RABBITMQ_URL!);
  const channel = await connection.createConfirmChannel();
  let returned = 0;
  channel.on('return', () => (returned += 1)); // no queue takes requests
  for (let order = first; order < first + count; order += 1) {
    const name = `shop-order-${order}`; // the same after a crash: a repeat is recognisable
    const request = { requestId: name, messageId: name, phoneNumber: '41793026727', sms: { text: 'Shipped' } };
    const options = { messageId: name, contentType: 'application/json', persistent: true, mandatory: true };
    channel.publish(urgent ? 'omni.requests.urgent' : 'omni.requests', 'send', Buffer.from(JSON.stringify(request)), options);
    await channel.waitForConfirms(); // rejects unless the broker has stored it
  }
  await connection.close();
  if (returned > 0) throw new Error(`${returned} requests had no queue`);
}

main(Number(process.argv[2]), Number(process.argv[3]), process.argv[4] === 'urgent').catch((error) => {
  console.error(error);
  process.exit(1);
});
