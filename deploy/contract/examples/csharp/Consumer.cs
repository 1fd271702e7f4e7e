// Prints each status event once, until it is ended: dotnet run. Needs RabbitMQ.Client 7.
using RabbitMQ.Client;
using RabbitMQ.Client.Events;

var factory = new ConnectionFactory { Uri = new Uri(Environment.GetEnvironmentVariable("RABBITMQ_URL")!) }; // it connects again by itself
await using var connection = await factory.CreateConnectionAsync();
await using var channel = await connection.CreateChannelAsync();
await channel.BasicQosAsync(0, 50, false);
await channel.QueueDeclareAsync("shop.events", durable: true, exclusive: false, autoDelete: false,
    arguments: new Dictionary<string, object?> { ["x-queue-type"] = "quorum" });
await channel.QueueBindAsync("shop.events", "omni.results", "#");
var seen = new HashSet<string>(); // in a database: an event may be repeated for 48 hours
var consumer = new AsyncEventingBasicConsumer(channel);
consumer.ReceivedAsync += async (_, message) =>
{
    var id = message.BasicProperties.MessageId!; // the id of the event; its body is JSON
    if (seen.Add(id)) Console.WriteLine($"{id} {message.BasicProperties.Type}");
    await channel.BasicAckAsync(message.DeliveryTag, multiple: false); // after the work is done
};
await channel.BasicConsumeAsync("shop.events", autoAck: false, consumer);
await Task.Delay(Timeout.Infinite);
