// Publishes requests: dotnet run FIRST COUNT [urgent]. Needs RabbitMQ.Client 7.
using System.Text.Json;
using RabbitMQ.Client;

int first = int.Parse(args[0]), count = int.Parse(args[1]);
var exchange = args.Contains("urgent") ? "omni.requests.urgent" : "omni.requests";
var factory = new ConnectionFactory { Uri = new Uri(Environment.GetEnvironmentVariable("RABBITMQ_URL")!) };
await using var connection = await factory.CreateConnectionAsync();
await using var channel = await connection.CreateChannelAsync(
    new CreateChannelOptions(publisherConfirmationsEnabled: true, publisherConfirmationTrackingEnabled: true));
for (var order = first; order < first + count; order++)
{
    var name = $"shop-order-{order}"; // the same after a crash: a repeat is recognisable
    var request = new { requestId = name, messageId = name, phoneNumber = "41793026727", sms = new { text = "Shipped" } };
    var properties = new BasicProperties { MessageId = name, ContentType = "application/json", Persistent = true };
    // Throws unless the broker has stored it, also if no queue takes requests.
    await channel.BasicPublishAsync(exchange, "send", mandatory: true, properties, JsonSerializer.SerializeToUtf8Bytes(request));
}
